"""How many associations there are, in all and from each address."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from service.network.requests import Rejection


class Places:
    """Counts places; any number of threads may ask.

    Parameters
    ----------
    in_all, per_address
        At a time.
    """

    def __init__(self, *, in_all: int, per_address: int) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._taken: Counter[str] = Counter()
        self._lock = Lock()

    def take(self, address: str) -> Rejection | None:
        """Take a place, or say why there is none."""
        with self._lock:
            if self._taken.total() >= self._in_all:
                return Rejection.LOCAL_LIMIT_EXCEEDED
            if self._taken[address] >= self._per_address:
                return Rejection.PEER_LIMIT_EXCEEDED
            self._taken[address] += 1
            return None

    def leave(self, address: str) -> None:
        """Give the place back."""
        with self._lock:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]

    @property
    def taken(self) -> int:
        """Associations now."""
        with self._lock:
            return self._taken.total()
