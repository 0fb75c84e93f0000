"""A thread that compares predictions with later scans, in the process that leads and while no conversion waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread

from service.jobs.follow_ups import FollowUps
from service.presence import attempt

PAUSE_S = 10.0


class Comparing:
    """Its work is in nobody's way: one comparison at a time, given up with the process and made again later.

    Parameters
    ----------
    free
        Whether this process may compare now.
    """

    def __init__(self, follow_ups: FollowUps, *, free: Callable[[], bool], now: Callable[[], datetime]) -> None:
        self._follow_ups = follow_ups
        self._free = free
        self._now = now
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="comparing", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no other comparison; one in hand is left to the end of the process."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def turn(self, _: datetime) -> None:
        """All that are due, until something else wants the processor.

        Raises
        ------
        StorageUnavailable
            Ledger or spool failed.
        """
        while not self._stopping.is_set() and self._free() and self._follow_ups.tick():
            pass

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            attempt(self.turn, self._now())
