"""Logging in and out."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Sequence

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from service.monitoring import page
from service.monitoring.access import LogIn
from service.monitoring.case_ids import CASE_ID
from service.monitoring.forms import Refused, read_form
from service.monitoring.guard import LOG_IN, visitor_of

_OURS = re.compile(rf"/(cases/{CASE_ID}(/discard)?)?")
_WRONG = "The name or the password is not right."
_log = structlog.get_logger()


class LogInRoutes:
    """The form, what is posted from it, and the way out."""

    def __init__(self, log_in: LogIn) -> None:
        self._log_in = log_in

    def routes(self) -> Sequence[BaseRoute]:
        """For the application."""
        return [
            Route(LOG_IN, self.form, methods=["GET"]),
            Route(LOG_IN, self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    def form(self, request: Request) -> Response:
        """The log-in form."""
        return self._form(request, request.query_params.get("next", ""))

    async def enter(self, request: Request) -> Response:
        """Check name and password; a session when they are right."""
        log_in = self._log_in
        browser = request.cookies.get(log_in.form_cookie, "")
        fields = await read_form(request, log_in.proof(browser) if browser else "")
        name, onward = fields.get("name", "").strip()[:64], fields.get("next", "")
        address = log_in.address(request)
        wait = log_in.attempts.begin(name, address)
        if wait is not None:
            _log.warning("log-in refused for now", address=address)
            minutes = math.ceil(wait.total_seconds() / 60)
            raise Refused(
                429,
                "Too many tries",
                f"Wrong passwords were given too often. Try again in {minutes} min.",
                headers={"Retry-After": str(math.ceil(wait.total_seconds()))},
            )
        account = await run_in_threadpool(log_in.users.check, name, fields.get("password", ""))
        if account is None:
            _log.warning("log-in failed", address=address)  # the name may be a password that was typed too early
            return self._form(request, onward, problem=_WRONG, status=401)
        log_in.attempts.succeeded(name, address)
        _log.info("logged in", user=account.name, role=account.role.value, address=address)
        answer = RedirectResponse(_local(onward), status_code=303)
        token = log_in.sessions.begin(account.name, account.password_hash)
        self._set_cookie(answer, log_in.cookie, token, int(log_in.lasting.total_seconds()))
        answer.delete_cookie(log_in.form_cookie, path="/", secure=log_in.secure, httponly=True, samesite="lax")
        return answer

    async def leave(self, request: Request) -> Response:
        """End the session."""
        log_in = self._log_in
        visitor = visitor_of(request)
        await read_form(request, visitor.token)
        log_in.sessions.end(request.cookies.get(log_in.cookie, ""))
        _log.info("logged out", user=visitor.name)
        answer = RedirectResponse(LOG_IN, status_code=303)
        answer.delete_cookie(log_in.cookie, path="/", secure=log_in.secure, httponly=True, samesite="lax")
        return answer

    def _form(self, request: Request, onward: str, *, problem: str = "", status: int = 200) -> Response:
        browser = request.cookies.get(self._log_in.form_cookie) or secrets.token_urlsafe(32)
        text = page.render_log_in(proof=self._log_in.proof(browser), onward=_local(onward), problem=problem)
        answer = HTMLResponse(text, status_code=status)
        self._set_cookie(answer, self._log_in.form_cookie, browser, None)
        return answer

    def _set_cookie(self, answer: Response, name: str, value: str, seconds: int | None) -> None:
        answer.set_cookie(
            name, value, max_age=seconds, path="/", secure=self._log_in.secure, httponly=True, samesite="lax"
        )


def _local(path: str) -> str:
    """`path`, if it is one of our pages: a log-in form must not send anybody elsewhere."""
    return path if _OURS.fullmatch(path) else "/"
