"""What makes the queue whole again, from the ledger or after a worker's death; and which worker leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from service.jobs.port import JobQueue
from service.storage.case_ledger import CaseLedger
from service.storage.worker_ledger import LeaseLedger, Worker, WorkerLedger

SILENT_FOR = timedelta(seconds=15)
"""A worker that has not beaten for so long is dead; beats come every few seconds.

A quarter of the minute within which its cases are to be done elsewhere.
"""
_LEADER = "leader"
_log = structlog.get_logger()


def is_alive(worker: Worker, told: datetime) -> bool:
    """Whether it has beaten lately; `told` by the clock of the ledger."""
    return told - worker.beat_at < SILENT_FOR


def resubmit_unfinished(cases: CaseLedger, queue: JobQueue) -> int:
    """Submit every case that the ledger calls unfinished; how many there are.

    Harmless for jobs that the queue has; brings back those it lost, up to all of them.
    """
    unfinished = cases.unfinished()
    for case in unfinished:
        queue.submit(case.case_id, case.revision)
    return len(unfinished)


class Sweeper:
    """Takes over from workers that have died or left."""

    def __init__(
        self, workers: WorkerLedger, queue: JobQueue, *, executor_id: str, silent_for: timedelta = SILENT_FOR
    ) -> None:
        self._workers = workers
        self._queue = queue
        self._executor_id = executor_id
        self._silent_for = silent_for
        self._last: datetime | None = None
        self._patient_until: datetime | None = None

    def tick(self, now: datetime) -> int:
        """Take over the jobs of workers gone silent; how many jobs were taken over.

        Call it every few seconds; raises `StorageUnavailable` when the ledger does.
        """
        held_up = self._last is not None and now - self._last > 0.75 * self._silent_for
        self._last = now
        if held_up:  # the ledger was away, or this machine slept: the others could not beat either, or not be heard
            self._patient_until = now + self._silent_for / 2
        if self._patient_until is not None and now < self._patient_until:
            return 0
        dead = self._workers.claim_dead(self._executor_id, silent_for=self._silent_for, now=now)
        taken = 0
        for executor_id in dead:
            taken += self._queue.resume_orphans([executor_id])
            # Only now: a claimant that dies before this leaves the claim to lapse, and another repeats it.
            self._workers.taken_over(executor_id, by=self._executor_id, now=now)
            _log.warning("worker gone", executor=executor_id)
        return taken


class Leadership:
    """Whether this worker does what one at a time does: pairing, retention, recovery, fetching of priors.

    It is a lease on a row of the ledger. One that its holder did not renew in time, dead or held up, is another's;
    should both work for a moment, each of their steps is a transaction that finds done what is done.

    Parameters
    ----------
    seconds
        Seconds that never go back.
    """

    def __init__(
        self,
        leases: LeaseLedger,
        *,
        executor_id: str,
        lasting: timedelta = SILENT_FOR,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._executor_id = executor_id
        self._lasting = lasting
        self._seconds = seconds
        self._until = float("-inf")

    @property
    def held(self) -> bool:
        """As last asked for, and no longer than that lasts: who cannot ask any more must not go on believing it."""
        return self._seconds() < self._until

    def renew(self, now: datetime) -> bool:
        """Ask for it, or for longer; whether this worker has it. Call it well within `lasting`.

        Raises
        ------
        StorageUnavailable
            The ledger failed; it then counts as lost.
        """
        self._until = float("-inf")
        asked = self._seconds()
        taken = self._leases.take(_LEADER, self._executor_id, lasting=self._lasting, now=now)
        if taken:
            self._until = asked + self._lasting.total_seconds()
        return taken
