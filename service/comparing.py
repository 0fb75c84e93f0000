"""A thread that compares predictions with later scans, in the process that leads and while no conversion waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from service.jobs.follow_ups import FollowUps
from service.rounds import Rounds

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
        self._rounds = Rounds("comparing", self.turn, pause_s=PAUSE_S, now=now)

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no other comparison; one in hand is left to the end of the process."""
        self._rounds.stop(timeout_s)

    def turn(self, _: datetime) -> None:
        """All that are due, until something else wants the processor.

        Raises
        ------
        StorageUnavailable
            Ledger or spool failed.
        """
        while not self._rounds.stopping and self._free() and self._follow_ups.tick():
            pass
