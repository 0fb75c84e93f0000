"""Stands before every page: nothing is answered before it is clear who asks."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.monitoring import page
from service.monitoring.access import Access, Visitor

FOR_MACHINES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered to anybody: no patient data, and monitoring systems cannot fill in forms."""
LOG_IN = "/login"


class Guard:
    """Lets a request through with its `Visitor` in ``request.state``, or answers it."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self._application = application
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        answer = self._answer(scope) if scope["type"] == "http" else None
        await (answer or self._application)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """What is said instead of a page; None when the request may go on."""
        request, path = HTTPConnection(scope), scope["path"]
        if path in FOR_MACHINES:
            return None
        return self._unadmitted(request) or self._unknown(scope, request, path)

    def _unadmitted(self, request: HTTPConnection) -> Response | None:
        if not self._access.admits(request):
            text = (
                "Pages are given to the reverse proxy only that the configuration names (status_page.proxy_addresses)."
            )
            return _message(403, "Not for this address", text)
        return None

    def _unknown(self, scope: Scope, request: HTTPConnection, path: str) -> Response | None:
        visitor = self._access.visitor(request)
        if path == LOG_IN and self._access.log_in is not None:
            return None
        if visitor is not None:
            scope.setdefault("state", {})["visitor"] = visitor
            return None
        if self._access.log_in is None:
            text = "The reverse proxy did not say who is asking (status_page.proxy_user_header)."
            return _message(401, "Not known", text)
        if scope["method"] not in ("GET", "HEAD"):
            return _message(401, "Logged out", "Nothing was done. Log in, then try again.")
        return RedirectResponse(f"{LOG_IN}?next={quote(path, safe='/')}", status_code=303)


def visitor_of(request: Request) -> Visitor:
    """Who asks, as the guard found."""
    found: Visitor = request.state.visitor
    return found


def _message(status: int, title: str, text: str) -> Response:
    return HTMLResponse(page.render_message(title, text), status_code=status)
