"""Who is logged in: kept in memory, so a restart logs everybody out."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

_MOST = 1000  # sessions; the oldest end first


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody's log-in. It ends when their line in the users file changes: `password_hash` is what it was."""

    name: str
    password_hash: str
    ends_at: datetime


class Sessions:
    """Sessions by token; only digests of the tokens are kept."""

    def __init__(self, lasting: timedelta, now: Callable[[], datetime]) -> None:
        self._lasting = lasting
        self._now = now
        self._open: OrderedDict[bytes, Session] = OrderedDict()
        self._lock = Lock()

    def begin(self, name: str, password_hash: str) -> str:
        """Begin one; the token for the cookie."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            ends_at = self._now() + self._lasting
            self._open[_digest(token)] = Session(name=name, password_hash=password_hash, ends_at=ends_at)
            while len(self._open) > _MOST:
                self._open.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """The session, if it has not ended."""
        key = _digest(token)
        with self._lock:
            session = self._open.get(key)
            if session is not None and session.ends_at <= self._now():
                del self._open[key]
                return None
            return session

    def end(self, token: str) -> None:
        """Log out; without effect when the session is over."""
        with self._lock:
            self._open.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
