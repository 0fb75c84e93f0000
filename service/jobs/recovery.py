"""What makes the queue whole again: after a restart from the ledger, after a worker's death from its heartbeat."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from service.jobs.port import JobQueue
from service.storage.case_ledger import CaseLedger
from service.storage.work_ledger import WorkerLedger

SILENT_FOR = timedelta(seconds=60)
"""A worker that has not beaten for so long is dead; beats come every few seconds."""
_log = structlog.get_logger()


def resubmit_unfinished(cases: CaseLedger, queue: JobQueue) -> int:
    """Submit every case that the ledger calls unfinished; how many there are.

    Harmless for jobs that the queue has; brings back those it lost, up to all of them.
    """
    unfinished = cases.unfinished()
    for case in unfinished:
        queue.submit(case.case_id, case.revision)
    return len(unfinished)


class Sweeper:
    """Beats for this worker and takes over from dead ones."""

    def __init__(
        self, workers: WorkerLedger, queue: JobQueue, *, executor_id: str, silent_for: timedelta = SILENT_FOR
    ) -> None:
        self._workers = workers
        self._queue = queue
        self._executor_id = executor_id
        self._silent_for = silent_for

    def tick(self, now: datetime) -> int:
        """Beat, then take over the jobs of workers gone silent; how many jobs were taken over.

        Call it every few seconds; raises `StorageUnavailable` when the ledger does.
        """
        self._workers.beat(self._executor_id, now)
        dead = self._workers.claim_dead(self._executor_id, silent_for=self._silent_for, now=now)
        taken = 0
        for executor_id in dead:
            taken += self._queue.resume_orphans([executor_id])
            # Only now: a claimant that dies before this leaves the claim to lapse, and another repeats it.
            self._workers.forget(executor_id, by=self._executor_id)
            _log.warning("worker gone silent", executor=executor_id)
        return taken
