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
    """Tries of the last quarter of an hour that did not succeed, by name, by address, and by both together."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._tries: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = Lock()

    def begin(self, name: str, address: str) -> timedelta | None:
        """Count a try before its password is looked at, so that many at once are no way round.

        Returns
        -------
        None, or how long to wait; who has to wait is not counted again.
        """
        with self._lock:
            waits = [self._wait(key, most) for key, most in _keys(name, address)]
            longest = max((wait for wait in waits if wait is not None), default=None)
            if longest is None:
                self._count(name, address)
            return longest

    def succeeded(self, name: str, address: str) -> None:
        """Take the try back, and forget this person's slips at this place."""
        with self._lock:
            both, *others = (key for key, _ in _keys(name, address))
            self._tries.pop(both, None)
            for key in others:
                if self._tries.get(key):
                    self._tries[key].pop()

    def _count(self, name: str, address: str) -> None:
        for key, most in _keys(name, address):
            self._tries.setdefault(key, deque(maxlen=most)).append(self._now())
            self._tries.move_to_end(key)
        while len(self._tries) > _REMEMBERED:
            self._tries.popitem(last=False)

    def _wait(self, key: str, most: int) -> timedelta | None:
        tries = self._tries.get(key)
        if tries is None or len(tries) < most:
            return None
        left = tries[0] + PERIOD - self._now()
        return left if left > timedelta() else None


def _keys(name: str, address: str) -> Iterator[tuple[str, int]]:
    yield f"both {address} {name}", PER_NAME_AND_ADDRESS
    yield f"address {address}", PER_ADDRESS
    yield f"name {name}", PER_NAME
