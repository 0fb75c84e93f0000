"""Messages by e-mail: SMTP (RFC 5321) with STARTTLS (RFC 3207) or TLS from the start (RFC 8314), never without."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from service.monitoring.notifications.account import Message
from service.monitoring.notifications.outbox import Undelivered
from service.monitoring.notifications.wording import Letterhead, subject, text

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail server, and who gets mail; `user` empty does not log in."""

    host: str
    port: int
    security: Literal["starttls", "tls"]
    sender: str
    recipients: tuple[str, ...]
    head: Letterhead
    tls: ssl.SSLContext
    user: str = ""
    password: str = field(default="", repr=False)

    def send(self, message: Message) -> str:
        """One mail to all; a recipient that the server refuses keeps it from no other."""
        with _explained(), self._session() as session:
            refused = session.send_message(self._mail(message), self.sender, self.recipients)
        if not refused:
            return ""
        codes = sorted({str(answer[0]) for answer in refused.values()})
        return f"{len(refused)} of {len(self.recipients)} recipients refused by the server ({', '.join(codes)})"

    def check(self) -> None:
        """Connect, secure the connection, log in."""
        with _explained(), self._session() as session:
            session.noop()

    @contextlib.contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        if self.security == "tls":
            opened: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, local_hostname=self.head.host, timeout=_TIMEOUT_S, context=self.tls
            )
        else:
            opened = smtplib.SMTP(self.host, self.port, local_hostname=self.head.host, timeout=_TIMEOUT_S)
        try:
            if self.security == "starttls":
                opened.starttls(context=self.tls)
            if self.user:
                opened.login(self.user, self.password)
            yield opened
            # What was taken is taken, however the goodbye goes.
            with contextlib.suppress(OSError):
                opened.quit()
        finally:
            opened.close()

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = subject(message, self.head)
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = f"<{message.identity}@csf24.{self.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        mail.set_content(text(message, self.head))
        return mail


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as fault:  # smtplib's errors are OSErrors
        raise Undelivered(_reason(fault)) from fault


def _reason(fault: Exception) -> str:  # noqa: PLR0911 - a line for each kind of fault
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({fault.verify_message})"
    if isinstance(fault, TimeoutError):
        return f"no answer within {_TIMEOUT_S:.0f} s"
    if isinstance(fault, smtplib.SMTPNotSupportedError):
        return "it offers no STARTTLS, or no log-in"
    if isinstance(fault, smtplib.SMTPAuthenticationError):
        return f"it refused the log-in ({fault.smtp_code})"
    if isinstance(fault, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(answer[0]) for answer in fault.recipients.values()})
        return f"it refused every recipient ({', '.join(codes)})"
    if isinstance(fault, smtplib.SMTPResponseException):
        return f"it answered {fault.smtp_code}"
    return (fault.strerror if isinstance(fault, OSError) else None) or type(fault).__name__
