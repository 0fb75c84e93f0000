"""The web application: what is answered under which path."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Protocol, TypeAlias

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.cases import CaseState
from service.errors import Csf24Error, Reason
from service.monitoring import metrics, page
from service.monitoring.access import Access, Viewing
from service.monitoring.action_routes import ActionRoutes, Actions
from service.monitoring.browse import TITLES
from service.monitoring.case_ids import case_id_of
from service.monitoring.forms import Refused
from service.monitoring.guard import Guard, visitor_of
from service.monitoring.log_in_routes import LogInRoutes
from service.monitoring.readiness import not_ready
from service.monitoring.snapshot import CaseView, SectionRequest, StatusSnapshot
from service.monitoring.templating import SCRIPT_HASH, STYLE_HASH


class Sources(Protocol):
    """What the pages show; a `Csf24Error` from one is answered 503."""

    def snapshot(self) -> StatusSnapshot:
        """The service now."""
        ...

    def case(self, case_id: str, /) -> CaseView | None:
        """One case; None when there is none."""
        ...

    def picture(self, case_id: str, /) -> bytes | None:
        """Its preview."""
        ...

    def section(self, case_id: str, request: SectionRequest, /) -> bytes | None:
        """One section of its images."""
        ...


OnPicture: TypeAlias = Callable[[Viewing], None]

_log = structlog.get_logger()
_LARGEST_INDEX = 9999
_VIEWINGS_KEPT = 10_000
_SECURITY_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src '{STYLE_HASH}'; script-src '{SCRIPT_HASH}'; "
    "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # "no-referrer" would take the origin from our own forms
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # a section through a head stays out of the browser's cache
}


class Routes:
    """Answers to requests; each runs in a worker thread, so the sources may block.

    Parameters
    ----------
    access
        How visitors are told apart.
    actions
        What the buttons do; without it there are none.
    config_path
        Of the configuration file, for the commands that the pages spell out.
    on_picture
        Told when a picture was shown: once for each opening of the case's page, not for each of its many sections.
    """

    def __init__(
        self,
        sources: Sources,
        access: Access,
        actions: Actions | None = None,
        *,
        config_path: str | None = None,
        on_picture: OnPicture = lambda _: None,
    ) -> None:
        self._sources = sources
        self._access = access
        self._actions = actions
        self._config_path = config_path
        self._on_picture = on_picture
        self._viewings: dict[Viewing, None] = {}

    def application(self) -> ASGIApp:
        """The routes as an ASGI application."""
        log_in = self._access.log_in
        pages = Starlette(
            routes=[
                Route("/", self.status),
                Route("/trends", self.trends),
                Route("/cases/{case_id}", self.case),
                Route("/cases/{case_id}/preview.png", self.preview),
                Route("/cases/{case_id}/sections/{view}/{plane}/{index:int}.png", self.section),
                Route("/healthz", self.alive),
                Route("/readyz", self.ready),
                Route("/metrics", self.metrics),
                *(LogInRoutes(log_in).routes() if log_in else ()),
                *(ActionRoutes(self._actions, self._sources.case).routes() if self._actions else ()),
            ],
            exception_handlers={HTTPException: _http_fault, Refused: _refused, Csf24Error: _unavailable},
        )
        return _Border(Guard(pages, self._access))

    def status(self, request: Request) -> Response:
        """All cases."""
        refreshing = request.query_params.get("refresh") != "off"
        return HTMLResponse(
            page.render(
                self._sources.snapshot(),
                refreshing=refreshing,
                config_path=self._config_path,
                visitor=visitor_of(request),
                show=request.query_params.get("show", ""),
            )
        )

    def trends(self, request: Request) -> Response:
        """How predictions did against scans that were acquired later."""
        return HTMLResponse(page.render_trends(self._sources.snapshot(), visitor=visitor_of(request)))

    def case(self, request: Request) -> Response:
        """One case."""
        view = self._sources.case(case_id_of(request))
        if view is None:
            raise HTTPException(404)
        self._viewings.pop(_viewing(view.case.case_id, request), None)
        visitor = visitor_of(request)
        held = view.case.state is CaseState.HELD
        choices = self._actions.choices(view.case.case_id) if self._actions and held and visitor.may_act else ()
        return HTMLResponse(
            page.render_case(
                view, asked=request.query_params, config_path=self._config_path, visitor=visitor, choices=choices
            )
        )

    def preview(self, request: Request) -> Response:
        """The picture of one case."""
        case_id = case_id_of(request)
        picture = self._sources.picture(case_id)
        if picture is None:
            raise HTTPException(404)
        self._told(case_id, request)
        return Response(picture, media_type="image/png")

    def section(self, request: Request) -> Response:
        """One section of a case's images."""
        wanted = request.path_params
        if wanted["view"] not in TITLES or wanted["index"] > _LARGEST_INDEX:
            raise HTTPException(404)
        asked = SectionRequest(view=wanted["view"], plane=wanted["plane"], index=wanted["index"])
        case_id = case_id_of(request)
        picture = self._sources.section(case_id, asked)
        if picture is None:
            raise HTTPException(404)
        self._told(case_id, request)
        return Response(picture, media_type="image/png")

    def _told(self, case_id: str, request: Request) -> None:
        viewing = _viewing(case_id, request)
        if viewing in self._viewings:
            return
        if len(self._viewings) >= _VIEWINGS_KEPT:
            self._viewings.clear()
        self._viewings[viewing] = None
        self._on_picture(viewing)

    def alive(self, _: Request) -> Response:
        """Answers as long as the process can; asks nothing."""
        return PlainTextResponse("alive\n")

    def ready(self, _: Request) -> Response:
        """200, or 503 with every reason why no patient can be received or filed."""
        try:
            reasons = not_ready(self._sources.snapshot())
        except Csf24Error as fault:
            reasons = (Reason(code="STATUS_UNAVAILABLE", message=str(fault)),)
        listed = [
            {"code": reason.code, "message": reason.message, "measured": reason.measured, "limit": reason.limit}
            for reason in reasons
        ]
        return JSONResponse({"ready": not reasons, "reasons": listed}, status_code=503 if reasons else 200)

    def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(metrics.render(self._sources.snapshot()), headers={"Content-Type": metrics.CONTENT_TYPE})


class _Border:
    """Adds the headers to every answer, the 500 of a bug included, and logs the bug without its text."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY_HEADERS)
            await send(message)

        try:
            await self._application(scope, receive, send_with_headers)
        except Exception as fault:  # noqa: BLE001 - Starlette has answered; the server's own log would quote the text
            frame = traceback.extract_tb(fault.__traceback__)[-1]
            place = f"{PurePath(frame.filename).name}:{frame.lineno}"
            _log.error("a page could not be made", path=scope["path"], kind=type(fault).__name__, place=place)


def _http_fault(_: Request, fault: Exception) -> Response:
    # What was asked for is not repeated: it may be anything.
    assert isinstance(fault, HTTPException)
    if fault.status_code == 404:
        text = "There is no such page or case. The command csf24 cases list shows every case."
        return HTMLResponse(page.render_message("Not found", text), status_code=404)
    return HTMLResponse(
        page.render_message("Not possible", "This cannot be done here."), fault.status_code, fault.headers
    )


def _refused(_: Request, fault: Exception) -> Response:
    assert isinstance(fault, Refused)
    return HTMLResponse(page.render_message(fault.title, fault.text), fault.status, fault.headers)


def _unavailable(_: Request, fault: Exception) -> Response:
    text = f"The state of the service cannot be read: {fault}. Nothing that was acknowledged is lost."
    return HTMLResponse(page.render_message("Not available", text), status_code=503)


def _viewing(case_id: str, request: Request) -> Viewing:
    return Viewing(
        case_id=case_id, user=visitor_of(request).name, address=request.client.host if request.client else ""
    )
