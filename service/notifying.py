"""Tells people what has turned red and what is over, from the process that leads; part of the composition root."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog

from service.config import Config
from service.errors import ConfigError, StorageUnavailable
from service.monitoring.notifications.account import Account, Terms, follow
from service.monitoring.notifications.alarms import look
from service.monitoring.notifications.mail import Mail
from service.monitoring.notifications.outbox import Channel, Outbox
from service.monitoring.notifications.saved import Saved, decode, encode
from service.monitoring.notifications.webhook import Webhook
from service.monitoring.notifications.wording import Letterhead
from service.monitoring.snapshot import StatusSnapshot
from service.rounds import Rounds
from service.storage.ledger import Ledger

_TICK_S = 5.0
_SETTING = "notifications"
_log = structlog.get_logger()


class Notifier:
    """A thread of its own, which waits for receivers in place of everybody else.

    What was told, and what still waits to be sent, is in the ledger: whoever leads next goes on there. A message that
    was taken just before a crash is sent once more, under the same identity.

    Parameters
    ----------
    snapshot
        Of the service now; raises `StorageUnavailable` when the spool is gone.
    leads
        Whether this process is the one that does what one at a time does.
    """

    def __init__(
        self,
        ledger: Ledger,
        channels: Mapping[str, Channel],
        terms: Terms,
        *,
        snapshot: Callable[[], StatusSnapshot],
        leads: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._outbox = Outbox(channels)
        self._terms = terms
        self._snapshot = snapshot
        self._leads = leads
        self._account: Account | None = None
        self._written = ""
        self._rounds = Rounds("notifications", self.turn, pause_s=_TICK_S, now=now, at_once=True)

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """Since the start, by channel and result."""
        return self._outbox.counts

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def stop(self, timeout_s: float) -> None:
        """End; a receiver that takes its time is left, and gets the message again from who leads next."""
        self._rounds.stop(timeout_s)

    def turn(self, now: datetime) -> None:
        """Look, and tell; raises `StorageUnavailable` when what was told before cannot be read."""
        if not self._leads() and self._account is None:
            return
        seen = self._seen()
        # Who led when the ledger went can be replaced by nobody until it is back, and is the one to say so.
        if not self._leads() and seen is not None and seen.ledger is not None:
            self._account = None
            return
        if self._account is None:
            self._take_up()
        self._account, message = follow(self._account or Account(), look(seen), now, self._terms)
        if message is not None:
            self._outbox.add(message)
        self._save(now)
        if self._outbox.pump(now):
            self._save(now)

    def _seen(self) -> StatusSnapshot | None:
        try:
            return self._snapshot()
        except StorageUnavailable:
            return None

    def _take_up(self) -> None:
        text = self._ledger.setting(_SETTING)
        try:
            saved = decode(text) if text else Saved()
        except ValueError:
            _log.warning("what was told before cannot be read; all that is red is told anew")
            saved = Saved()
        self._account = saved.account
        self._outbox.resume(saved.waiting)
        self._written = text or ""

    def _save(self, now: datetime) -> None:
        text = encode(Saved(account=self._account or Account(), waiting=self._outbox.waiting))
        if text == self._written:
            return
        try:
            self._ledger.set_setting(_SETTING, text, now)
        except StorageUnavailable:  # at the next turn, or when it is back; told it must be all the same
            return
        self._written = text


def terms(config: Config) -> Terms:
    """What is told, and how often."""
    wanted = config.notifications
    return Terms(
        retrying=timedelta(minutes=wanted.retrying_minutes),
        window=timedelta(seconds=wanted.digest_seconds),
        per_hour=wanted.max_per_hour,
    )


def channels(config: Config, host: str) -> dict[str, Channel]:
    """The ways to people that are configured, by name; none is the default.

    Raises
    ------
    ConfigError
        The file of trusted certificates cannot be used.
    """
    wanted = config.notifications
    head = Letterhead(host=host, page_url=wanted.page_url)
    found: dict[str, Channel] = {}
    if wanted.webhook_url:
        found["webhook"] = Webhook(
            url=wanted.webhook_url,
            head=head,
            tls=_context(config),
            token=wanted.webhook_token,
            signing_key=wanted.webhook_signing_key,
        )
    if wanted.mail_host:
        found["mail"] = Mail(
            host=wanted.mail_host,
            port=wanted.mail_port,
            security=wanted.mail_security,
            sender=wanted.mail_from,
            recipients=wanted.mail_to,
            head=head,
            tls=_context(config),
            user=wanted.mail_user,
            password=wanted.mail_password,
        )
    return found


def receivers(config: Config) -> dict[str, str]:
    """Where each channel leads, in words without secrets."""
    wanted = config.notifications
    address = urlsplit(wanted.webhook_url)
    people = ", ".join(wanted.mail_to)
    return {
        "webhook": f"{address.hostname}:{address.port or 443}",
        "mail": f"{people} by {wanted.mail_host}:{wanted.mail_port}",
    }


def _context(config: Config) -> ssl.SSLContext:
    trusted = config.notifications.trusted
    try:
        context = ssl.create_default_context(cafile=trusted)
    except OSError as fault:
        raise ConfigError(
            [f"notifications.trusted: found {str(trusted)!r}, which cannot be used; accepted: certificates in PEM"]
        ) from fault
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
