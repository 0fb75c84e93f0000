"""What one association, and one address in a day, may bring: limits on messages and on stored bytes.

Beyond a limit of size an instance is answered 0xA700 (Refused: Out of Resources) and the association goes on; what is
left of it is read and dropped. Only what no answer can mend ends the association.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from weakref import WeakKeyDictionary

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from service.network.listener import request_of
from service.network.requests import Excess, OnRefused, Refusal

LARGEST_COMMAND = 64 * 1024
"""Bytes of a command set (PS3.7 6.3.1); real ones take a few hundred."""
MOST_OPEN_REQUESTS = 16
"""Requests of one association that wait to be served. No asynchronous operations are negotiated (PS3.7 D.3.3.3), so
a peer has one open at a time; some send the next before they have read the answer."""
_COMMAND = 1  # bit of the message control header, PS3.8 E.2
_INVALID_PDU = "Evt19"  # of the library's state machine: A-ABORT, then the end
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """In bytes; 0 sets none.

    Attributes
    ----------
    daily
        From one address, from midnight to midnight of the clock that `Intake` is given.
    """

    instance: int = 0
    association: int = 0
    daily: int = 0


@dataclass(slots=True)
class _Progress:
    """Of one association: the message that comes now, and what was stored."""

    command: int = 0
    dataset: int = 0
    too_large: set[int] = field(default_factory=set)
    stored: int = 0


class Intake:
    """Watches the associations of a listener; any number of threads may call it.

    Parameters
    ----------
    on_refused
        Told of what went beyond a limit.
    today
        The date, for the daily limit.
    """

    def __init__(
        self,
        limits: IntakeLimits,
        *,
        on_refused: OnRefused,
        today: Callable[[], date],
    ) -> None:
        self._limits = limits
        self._on_refused = on_refused
        self._today = today
        self._progress: WeakKeyDictionary[Association, _Progress] = WeakKeyDictionary()
        self._day = today()
        self._stored_today: Counter[str] = Counter()
        self._lock = Lock()

    def on_pdu(self, event: evt.Event) -> None:
        """For EVT_PDU_RECV: measure the message as it comes, and drop what is too much of it."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        progress = self._of(event.assoc)
        for item in event.pdu.presentation_data_value_items:
            fragment = item.presentation_data_value
            if fragment[0] & _COMMAND:
                progress.command += len(fragment) - 1
                if progress.command > LARGEST_COMMAND:
                    self._end(event.assoc, Excess.COMMAND_TOO_LARGE)
                    return
            else:
                progress.dataset += len(fragment) - 1
                if 0 < self._limits.instance < progress.dataset:
                    item.presentation_data_value = fragment[:1]

    def on_message(self, event: evt.Event) -> None:
        """For EVT_DIMSE_RECV: a message is whole, or as whole as it was let become."""
        progress = self._of(event.assoc)
        if 0 < self._limits.instance < progress.dataset:
            progress.too_large.add(int(event.message.command_set.get("MessageID", 0)))
        # Here only: fragments of a command between those of a data set must not begin the count anew.
        progress.command = progress.dataset = 0
        if event.assoc.dimse.msg_queue.qsize() > MOST_OPEN_REQUESTS:
            self._end(event.assoc, Excess.TOO_MANY_OPEN_REQUESTS)

    def admits(self, assoc: Association, message_id: int, n_bytes: int) -> bool:
        """Whether an instance may be stored; it then counts."""
        address = request_of(assoc).calling_address
        progress, limits = self._of(assoc), self._limits
        with self._lock:
            self._turn_the_day()
            if message_id in progress.too_large:
                progress.too_large.discard(message_id)
                why = Excess.INSTANCE_TOO_LARGE
            elif 0 < limits.association < progress.stored + n_bytes:
                why = Excess.ASSOCIATION_TOO_LARGE
            elif 0 < limits.daily < self._stored_today[address] + n_bytes:
                why = Excess.DAILY_LIMIT_EXCEEDED
            else:
                progress.stored += n_bytes
                self._stored_today[address] += n_bytes
                return True
        self.refuse(assoc, why)
        return False

    def day_is_full(self, address: str) -> bool:
        """Whether `address` has sent what it may today; its associations are then refused."""
        with self._lock:
            self._turn_the_day()
            return 0 < self._limits.daily <= self._stored_today[address]

    def refuse(self, assoc: Association, why: Excess) -> None:
        """Log and tell."""
        request = request_of(assoc)
        _log.warning("refused", calling_ae=request.calling_ae, address=request.calling_address, why=why.name)
        self._on_refused(
            Refusal(
                why=why, address=request.calling_address, calling_ae=request.calling_ae, called_ae=request.called_ae
            )
        )

    def _end(self, assoc: Association, why: Excess) -> None:
        assoc.dul.event_queue.put(_INVALID_PDU)
        self.refuse(assoc, why)

    def _of(self, assoc: Association) -> _Progress:
        with self._lock:
            return self._progress.setdefault(assoc, _Progress())

    def _turn_the_day(self) -> None:
        if self._today() != self._day:
            self._day = self._today()
            self._stored_today.clear()
