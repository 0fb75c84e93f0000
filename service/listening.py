"""The listener as configured: who may call, what each may bring, and a count of what was refused; part of the root."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from threading import Lock

from service.config import Config
from service.config.values import split_calling_address
from service.monitoring.snapshot import AssociationView, ListenerView
from service.network.admission import Admit, Pace, accept_policy
from service.network.commitment import RecordReport
from service.network.intake import Intake, IntakeLimits
from service.network.listener import ListenerSettings
from service.network.requests import AssociationRequest, Excess, OnRefused, Refusal, Rejection, TurnedAway
from service.network.storage_scp import Receive, storage_listener
from service.network.tls import server_context

_WHAT: Mapping[type[Enum], str] = {TurnedAway: "connection", Rejection: "association", Excess: "data"}
_MB = 1 << 20


class Listening:
    """The DICOM listener, and what the page tells of it.

    Parameters
    ----------
    receive, on_released, on_ended, on_commitment
        See `service.network.storage_scp.storage_listener`.
    on_refused
        Told of everything that was refused.
    has_room
        Whether storage takes more.

    Raises
    ------
    ConfigError
        TLS files cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        receive: Receive,
        on_released: Callable[[], None],
        on_ended: Callable[[str], None],
        on_commitment: RecordReport,
        on_refused: OnRefused,
        has_room: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        listener, tls = config.listener, config.tls
        context = None
        if tls.listener and tls.certificate is not None and tls.key is not None:
            context = server_context(
                certificate=tls.certificate,
                key=tls.key,
                trusted=tls.trusted,
                verify_client=tls.verify_client,
                minimum_version=tls.minimum_version,
            )
        self._ae_title, self._host, self._tls = listener.ae_title, listener.host, tls.listener
        self.last_association: AssociationView | None = None
        self._now = now
        self._on_refused = on_refused
        self._lock = Lock()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._intake = Intake(
            IntakeLimits(
                instance=listener.max_instance_mb * _MB,
                association=listener.max_association_mb * _MB,
                daily=listener.max_daily_mb * _MB,
            ),
            on_refused=self._note,
            today=lambda: now().date(),
        )
        self._pace = Pace(listener.max_associations_per_minute, clock=time.monotonic)
        self._policy: Admit = accept_policy(
            listener.calling_ae_titles,
            listener.promiscuous,
            listener.ae_title if listener.require_called_ae_title else None,
            has_room,
            origins=[split_calling_address(text) for text in listener.calling_addresses],
        )
        self.listener = storage_listener(
            ListenerSettings(
                ae_title=listener.ae_title,
                host=listener.host,
                port=listener.port,
                max_associations=listener.max_associations,
                max_associations_per_address=listener.max_associations_per_address,
                max_pdu=listener.max_pdu,
                association_timeout_s=listener.association_timeout_s,
                network_timeout_s=listener.network_timeout_s,
            ),
            receive=receive,
            admit=self._admit,
            on_released=on_released,
            on_ended=on_ended,
            on_commitment=on_commitment,
            on_refused=self._note,
            intake=self._intake,
            tls=context,
        )

    @property
    def view(self) -> ListenerView:
        """For the page."""
        return ListenerView(
            ae_title=self._ae_title,
            host=self._host,
            port=self.listener.port,
            tls=self._tls,
            listening=self.listener.listening,
        )

    @property
    def refused(self) -> Mapping[tuple[str, str], int]:
        """How often, by what (connection, association, data) and why; every reason there is, since the start."""
        with self._lock:
            return {
                (what, why.name.lower()): self._refused[what, why.name.lower()]
                for kind, what in _WHAT.items()
                for why in kind
            }

    def _admit(self, request: AssociationRequest) -> Rejection | None:
        rejection = self._policy(request)
        if rejection is None and not self._pace.allows(request.calling_address):
            rejection = Rejection.TOO_FREQUENT
        if rejection is None and self._intake.day_is_full(request.calling_address):
            rejection = Rejection.DAILY_LIMIT_EXCEEDED
        self.last_association = AssociationView(
            calling_ae=request.calling_ae, at=self._now(), accepted=rejection is None
        )
        return rejection

    def _note(self, refusal: Refusal) -> None:
        with self._lock:
            self._refused[_WHAT[type(refusal.why)], refusal.why.name.lower()] += 1
        self._on_refused(refusal)
