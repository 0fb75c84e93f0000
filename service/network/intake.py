"""What one association, and one address in a day, may bring: limits on stored bytes.

Beyond a limit an instance is answered 0xA700 (Refused: Out of Resources) and the association goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from threading import Lock

import structlog

from service.network.conversation import Request
from service.network.requests import Excess, OnRefused, Refusal

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
        self.limits = limits
        self._on_refused = on_refused
        self._today = today
        self._day = today()
        self._stored: Counter[str] = Counter()  # by association
        self._stored_today: Counter[str] = Counter()  # by address
        self._lock = Lock()

    def admits(self, request: Request) -> bool:
        """Whether an instance may be stored; it then counts."""
        address, association, n_bytes = request.caller.calling_address, request.association, request.dataset_length
        limits = self.limits
        with self._lock:
            self._turn_the_day()
            if 0 < limits.instance < n_bytes:
                why = Excess.INSTANCE_TOO_LARGE
            elif 0 < limits.association < self._stored[association] + n_bytes:
                why = Excess.ASSOCIATION_TOO_LARGE
            elif 0 < limits.daily < self._stored_today[address] + n_bytes:
                why = Excess.DAILY_LIMIT_EXCEEDED
            else:
                self._stored[association] += n_bytes
                self._stored_today[address] += n_bytes
                return True
        self.refuse(request, why)
        return False

    def day_is_full(self, address: str) -> bool:
        """Whether `address` has sent what it may today; its associations are then refused."""
        with self._lock:
            self._turn_the_day()
            return 0 < self.limits.daily <= self._stored_today[address]

    def forget(self, association: str) -> None:
        """It has ended."""
        with self._lock:
            self._stored.pop(association, None)

    def refuse(self, request: Request, why: Excess) -> None:
        """Log and tell."""
        caller = request.caller
        _log.warning("refused", calling_ae=caller.calling_ae, address=caller.calling_address, why=why.name)
        self._on_refused(
            Refusal(why=why, address=caller.calling_address, calling_ae=caller.calling_ae, called_ae=caller.called_ae)
        )

    def _turn_the_day(self) -> None:
        if self._today() != self._day:
            self._day = self._today()
            self._stored_today.clear()
