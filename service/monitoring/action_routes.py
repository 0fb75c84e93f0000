"""The buttons of a case: retry, release, discard. They do what the commands do, and say in the history who did it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from service.cases import Case
from service.errors import PermanentError
from service.monitoring import page
from service.monitoring.case_ids import case_id_of
from service.monitoring.forms import Refused, read_form
from service.monitoring.guard import visitor_of
from service.monitoring.snapshot import CaseView, SeriesChoice

_log = structlog.get_logger()
_Fields = dict[str, str]


class Actions(Protocol):
    """What may be done; each raises a `PermanentError`, with nothing changed, when it cannot be done."""

    def retry(self, case_id: str, *, by: str) -> Case:
        """Convert again."""
        ...

    def release(
        self, case_id: str, *, by: str, baseline: str = "", delayed: str = "", injection_time: str = ""
    ) -> Case:
        """Queue a held case."""
        ...

    def discard(self, case_id: str, *, by: str) -> Case:
        """Close it."""
        ...

    def choices(self, case_id: str, /) -> tuple[SeriesChoice, ...]:
        """Series to choose the pair from."""
        ...


class ActionRoutes:
    """One POST for each button; to discard asks once more before it."""

    def __init__(self, actions: Actions, find: Callable[[str], CaseView | None]) -> None:
        self._actions = actions
        self._find = find

    def routes(self) -> Sequence[BaseRoute]:
        """For the application."""
        return [
            Route("/cases/{case_id}/retry", self.retry, methods=["POST"]),
            Route("/cases/{case_id}/release", self.release, methods=["POST"]),
            Route("/cases/{case_id}/discard", self.ask, methods=["GET"]),
            Route("/cases/{case_id}/discard", self.discard, methods=["POST"]),
        ]

    async def retry(self, request: Request) -> Response:
        """Convert again."""
        return await self._act(request, "retry", lambda case_id, by, _: self._actions.retry(case_id, by=by))

    async def discard(self, request: Request) -> Response:
        """Close the case, once that was confirmed."""
        return await self._act(request, "discard", lambda case_id, by, _: self._actions.discard(case_id, by=by))

    async def release(self, request: Request) -> Response:
        """Queue a held case with the pair and the time that were chosen; only series that were offered count."""

        def release(case_id: str, by: str, fields: _Fields) -> Case:
            given = {name: fields.get(name, "").strip() for name in ("baseline", "delayed", "injection_time")}
            offered = {choice.uid for choice in self._actions.choices(case_id)}
            if not {given["baseline"], given["delayed"]} - {""} <= offered:
                raise Refused(400, "Not released", "A series was chosen that is not this patient's. Choose again.")
            return self._actions.release(case_id, by=by, **given)

        return await self._act(request, "release", release)

    def ask(self, request: Request) -> Response:
        """Whether it is to be discarded."""
        visitor = visitor_of(request)
        view = self._find(case_id_of(request))
        if view is None or not visitor.may_act:
            raise HTTPException(404)
        return HTMLResponse(page.render_discard(view, visitor=visitor))

    async def _act(self, request: Request, what: str, act: Callable[[str, str, _Fields], Case]) -> Response:
        visitor, case_id = visitor_of(request), case_id_of(request)
        fields = await read_form(request, visitor.token)
        if not visitor.may_act:
            raise Refused(403, "Not allowed", f"{visitor.name or 'You'} may look at cases, not act on them.")
        try:
            case = await run_in_threadpool(act, case_id, f"{visitor.name} on the status page", fields)
        except PermanentError as fault:
            raise Refused(409, "Nothing was changed", f"{fault}.") from fault
        _log.info(what, case_id=case_id, became=case.case_id, user=visitor.name)
        return RedirectResponse(f"/cases/{case.case_id}", status_code=303)
