"""Messages by HTTPS POST of JSON, to that address and no other: no proxy, no redirection."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from service.monitoring.notifications.account import Message
from service.monitoring.notifications.outbox import Undelivered
from service.monitoring.notifications.wording import Letterhead, payload

SIGNATURE = "X-CSF24-Signature"
_TIMEOUT_S = 10.0
_LONGEST_ANSWER = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver.

    Attributes
    ----------
    url
        With ``https``. Chat services put their secret into it, so it is never quoted.
    token
        Sent as ``Authorization: Bearer``; empty sends none.
    signing_key
        Of the header `SIGNATURE`: ``sha256=`` and the hexadecimal HMAC-SHA256 of the body (RFC 2104); empty signs not.
    """

    url: str = field(repr=False)
    head: Letterhead
    tls: ssl.SSLContext
    token: str = field(default="", repr=False)
    signing_key: str = field(default="", repr=False)

    def send(self, message: Message) -> str:
        """Post; anything but 2xx is a failure."""
        body = payload(message, self.head)
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "csf24", "Connection": "close"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.signing_key:
            digest = hmac.new(self.signing_key.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={digest}"
        parts = urlsplit(self.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = self._connection()
        try:
            connection.request("POST", target, body=body, headers=headers)
            answer = connection.getresponse()
            answer.read(_LONGEST_ANSWER)
        except (OSError, HTTPException, ValueError) as fault:
            raise Undelivered(_reason(fault)) from fault
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise Undelivered(f"it answered {answer.status}")
        return ""

    def check(self) -> None:
        """Connect and verify its certificate."""
        connection = self._connection()
        try:
            connection.connect()
        except (OSError, HTTPException) as fault:
            raise Undelivered(_reason(fault)) from fault
        finally:
            connection.close()

    def _connection(self) -> HTTPSConnection:
        parts = urlsplit(self.url)
        return HTTPSConnection(parts.hostname or "", parts.port or 443, context=self.tls, timeout=_TIMEOUT_S)


def _reason(fault: Exception) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({fault.verify_message})"
    if isinstance(fault, TimeoutError):
        return f"no answer within {_TIMEOUT_S:.0f} s"
    return (fault.strerror if isinstance(fault, OSError) else None) or type(fault).__name__
