"""How often somebody may try to log in."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from threading import Lock

PERIOD = timedelta(minutes=15)
PER_NAME_AND_ADDRESS = 5
PER_ADDRESS = 30
PER_NAME = 50
"""From anywhere: high, so that nobody is locked out by a stranger's few guesses."""
_REMEMBERED = 10_000  # names and addresses; the oldest are forgotten, so that guessing cannot fill the memory


class Attempts:
    """Failures of the last quarter of an hour, by name, by address, and by both together."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = Lock()

    def wait(self, name: str, address: str) -> timedelta | None:
        """How long until another try is heard; None when now."""
        with self._lock:
            waits = [self._wait(key, most) for key, most in _keys(name, address)]
        return max((wait for wait in waits if wait is not None), default=None)

    def failed(self, name: str, address: str) -> None:
        """Remember a wrong password."""
        with self._lock:
            for key, most in _keys(name, address):
                tries = self._failures.setdefault(key, deque(maxlen=most))
                tries.append(self._now())
                self._failures.move_to_end(key)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget this person's slips at this place."""
        with self._lock:
            self._failures.pop(next(_keys(name, address))[0], None)

    def _wait(self, key: str, most: int) -> timedelta | None:
        tries = self._failures.get(key)
        if tries is None or len(tries) < most:
            return None
        left = tries[0] + PERIOD - self._now()
        return left if left > timedelta() else None


def _keys(name: str, address: str) -> Iterator[tuple[str, int]]:
    yield f"both {address} {name}", PER_NAME_AND_ADDRESS
    yield f"address {address}", PER_ADDRESS
    yield f"name {name}", PER_NAME
