"""Who is notified: an HTTPS server and a mail server on loopback, as real as a hospital's."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.builders.network import LOOPBACK, Certificates
from tests.builders.programs import free_ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class WebServer:
    """Keeps what is posted; `answers` are given in turn, then 204."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    tries: int = 0

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}/hooks/mri?room=1"


@contextmanager
def web_server(certificates: Certificates, *answers: int, port: int = 0) -> Iterator[WebServer]:
    """Over TLS, with the certificate of the test authority; 3xx answers lead back to the same server."""
    kept = WebServer(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.tries += 1
            status = kept.answers.pop(0) if kept.answers else 204
            if 200 <= status < 300:
                kept.posts.append(Post(path=self.path, headers=dict(self.headers), body=body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    server.socket = _identity(certificates).wrap_socket(server.socket, server_side=True)
    kept.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass(kw_only=True)
class MailServer:
    """Keeps what is sent; `refused` are recipients that it does not know."""

    port: int
    refused: set[str] = field(default_factory=set)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert server.transport is not None
        assert server.transport.get_extra_info("ssl_object") is not None
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"


@contextmanager
def mail_server(
    certificates: Certificates | None, *, tls: bool = False, login: tuple[str, str] | None = None
) -> Iterator[MailServer]:
    """SMTP of aiosmtpd: with STARTTLS, with TLS from the start (`tls`), or with neither (no certificates)."""
    (port,) = free_ports(1)
    kept = MailServer(port=port)
    context = _identity(certificates) if certificates else None

    def authenticate(_: SMTP, __: Session, ___: Envelope, ____: str, given: LoginPassword) -> AuthResult:
        kept.logins.append(given.login.decode())
        return AuthResult(success=login == (given.login.decode(), given.password.decode()), handled=False)

    controller = Controller(
        kept,
        hostname=LOOPBACK,
        port=port,
        ssl_context=context if tls else None,
        tls_context=None if tls else context,
        require_starttls=bool(context) and not tls,
        authenticator=authenticate,
        auth_required=login is not None,
        auth_require_tls=not tls,  # of STARTTLS; with TLS from the start aiosmtpd does not know that it has it
    )
    controller.start()
    try:
        yield kept
    finally:
        controller.stop()


def _identity(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    return context
