"""Who asks, and what they may do: nobody in particular, somebody who logged in, or whom a reverse proxy names."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from starlette.requests import HTTPConnection

from service.monitoring.attempts import Attempts
from service.monitoring.role import Role
from service.monitoring.sessions import Sessions
from service.monitoring.users_file import UsersFile

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks at a page; `token` proves that a form came from one of our pages, `name` is empty without log-in."""

    name: str = ""
    role: Role = Role.VIEW
    token: str = ""
    may_log_out: bool = False

    @property
    def may_act(self) -> bool:
        """Whether buttons are shown and taken."""
        return self.role is Role.ACT


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """Who looks at the pictures of which case; `user` is empty without log-in."""

    case_id: str
    user: str
    address: str


ANYBODY = Visitor()


class Access(Protocol):
    """How visitors are told apart."""

    @property
    def log_in(self) -> LogIn | None:
        """The form that lets somebody in; None where there is none."""
        ...

    def admits(self, request: HTTPConnection) -> bool:
        """Whether this connection may see pages at all."""
        ...

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Who asks; None when that has to be said first."""
        ...


class Open:
    """No log-in: everybody may look and nobody may act. For loopback only; the configuration sees to that."""

    log_in: LogIn | None = None

    def admits(self, request: HTTPConnection) -> bool:
        """Everybody."""
        return True

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Anybody."""
        return ANYBODY


class LogIn:
    """Users of a file, with sessions.

    Parameters
    ----------
    proxies
        If there are any, only they may connect, and the last X-Forwarded-For is taken for the visitor's address.
    secure
        The browser's side is HTTPS, so cookies are sent over nothing else.
    """

    def __init__(
        self,
        users: UsersFile,
        *,
        lasting: timedelta,
        proxies: Collection[str],
        secure: bool,
        now: Callable[[], datetime],
    ) -> None:
        self.users = users
        self.sessions = Sessions(lasting, now)
        self.attempts = Attempts(now)
        self.secure = secure
        self.lasting = lasting
        self._proxies = _addresses(proxies)
        self._secret = secrets.token_bytes(32)

    @property
    def log_in(self) -> LogIn | None:
        """Itself."""
        return self

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; with the prefix, browsers refuse it from another host or over HTTP."""
        return "__Host-csf24" if self.secure else "csf24"

    @property
    def form_cookie(self) -> str:
        """Name of the cookie that ties the log-in form to the browser that fetched it."""
        return f"{self.cookie}-form"

    def admits(self, request: HTTPConnection) -> bool:
        """Everybody, or the proxies only."""
        return not self._proxies or _peer(request) in self._proxies

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Whom the session belongs to, as the users file has them now."""
        token = request.cookies.get(self.cookie, "")
        session = self.sessions.find(token) if token else None
        account = self.users.account(session.name) if session else None
        if session is None or account is None or account.password_hash != session.password_hash:
            return None
        return Visitor(name=account.name, role=account.role, token=self.proof(token), may_log_out=True)

    def proof(self, token: str) -> str:
        """What a form must carry to count as ours, for the browser that has `token` as a cookie."""
        return hmac.digest(self._secret, token.encode(), "sha256").hex()

    def address(self, request: HTTPConnection) -> str:
        """The visitor's, for counting failed log-ins."""
        forwarded = request.headers.get("x-forwarded-for", "")
        if self._proxies and forwarded:
            return forwarded.rpartition(",")[2].strip()[:_LONGEST_NAME]
        return _peer(request)


class Proxied:
    """A reverse proxy has asked who it is, and says so in a header; nobody else may connect.

    Parameters
    ----------
    acting
        Names that may act; all others that the proxy lets through may look.
    """

    log_in: LogIn | None = None

    def __init__(self, *, proxies: Collection[str], header: str, acting: Collection[str]) -> None:
        self._proxies = _addresses(proxies)
        self._header = header
        self._acting = frozenset(acting)
        self._secret = secrets.token_bytes(32)

    def admits(self, request: HTTPConnection) -> bool:
        """The proxies only: from elsewhere the header says nothing."""
        return _peer(request) in self._proxies

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Whom the proxy names; None when it names nobody, or several."""
        names = request.headers.getlist(self._header)
        if len(names) != 1 or not names[0].strip() or not names[0].isprintable():
            return None
        name = names[0].strip()[:_LONGEST_NAME]
        role = Role.ACT if name in self._acting else Role.VIEW
        return Visitor(name=name, role=role, token=hmac.digest(self._secret, name.encode(), "sha256").hex())


def _addresses(texts: Collection[str]) -> frozenset[str]:
    return frozenset(str(ipaddress.ip_address(text)) for text in texts)


def _peer(request: HTTPConnection) -> str:
    """Address of the other end of the connection, as `ipaddress` writes it; IPv4 even on an IPv6 socket."""
    if request.client is None:
        return ""
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
