"""The process among those that share the ledger: signs on, beats, and does on each beat what may not wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from service.errors import ConfigError, Csf24Error
from service.jobs.recovery import SILENT_FOR, is_alive
from service.rounds import Rounds, Turn, attempt
from service.storage.ledger import Ledger

BEAT_S = 3.0
_log = structlog.get_logger()


class Presence:
    """A thread of its own, so that no other work, however long, makes this process pass for dead.

    Parameters
    ----------
    duties
        Called after each beat, with the time that all who share the ledger go by.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        executor_id: str,
        host: str,
        roles: Sequence[str],
        duties: Sequence[Turn] = (),
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._executor_id = executor_id
        self._host = host
        self._roles = tuple(roles)
        self._duties = tuple(duties)
        self._now = now
        self._rounds = Rounds("presence", self.tick, pause_s=BEAT_S, now=now)

    def sign_on(self) -> None:
        """Make sure that this process may be here, and beat for the first time.

        Raises
        ------
        ConfigError
            SQLite with another machine at it, or a name that a process on another machine has.
        StorageUnavailable
            The ledger failed.
        """
        now = self._ledger.clock(self._now())
        elsewhere = [
            worker
            for worker in self._ledger.workers.all()
            if worker.host not in ("", self._host) and is_alive(worker, now)
        ]
        if elsewhere and not self._ledger.shared:
            raise _refused(
                f"storage.database: found SQLite, which {elsewhere[0].executor_id} on another machine uses too",
                "a PostgreSQL, where there are several machines",
            )
        for worker in elsewhere:
            if worker.executor_id == self._executor_id:
                found = f"workers.executor_id: found {self._executor_id!r}, which a process on {worker.host} has"
                raise _refused(found, "a name of its own")
        self._beat(now)

    def start(self) -> None:
        """Go on beating."""
        self._rounds.start()

    def stop(self, timeout_s: float) -> None:
        """Beat no more."""
        self._rounds.stop(timeout_s)

    def leave(self) -> None:
        """Say that this process ends, and let others have at once what it did alone and what it had begun."""
        try:
            self._ledger.leases.give_up(self._executor_id)
            self._ledger.workers.leave(self._executor_id)
        except Csf24Error as fault:  # then the others wait until it has been silent for long enough
            _log.warning("could not sign off", fault=str(fault))

    def tick(self, now: datetime) -> None:
        """Beat, and do the duties; one that fails is logged and stops none of the others.

        Raises
        ------
        StorageUnavailable
            This process could not beat.
        """
        told = self._ledger.clock(now)
        self._beat(told)
        for duty in self._duties:
            attempt(duty, told)

    def _beat(self, told: datetime) -> None:
        self._ledger.workers.beat(self._executor_id, told, host=self._host, roles=self._roles)


def _refused(found: str, accepted: str) -> ConfigError:
    wait = f"or stop that one, and if it was killed wait {SILENT_FOR.seconds} s"
    return ConfigError([f"{found}; accepted: {accepted}; {wait}"])
