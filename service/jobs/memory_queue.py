"""The in-memory twin of the durable queue, for unit tests and one-shot runs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Event
from typing import Any

from service.jobs.port import CaseSteps, JobCounts, job_id
from service.jobs.retry import RetryPolicy
from service.jobs.workflow import CaseWorkflow


class MemoryQueue:
    """Runs jobs in the caller's thread when `drain` is called; forgets everything with the process."""

    def __init__(self, steps: CaseSteps, *, policy: RetryPolicy) -> None:
        self._stopping = Event()
        self._workflow = CaseWorkflow(steps=steps, policy=policy, stopping=self._stopping)
        self._waiting: dict[str, tuple[str, int]] = {}

    def start(self) -> None:
        """Begin; nothing was left from before."""
        self._stopping.clear()

    def submit(self, case_id: str, revision: int) -> None:
        """Add the job unless it is waiting."""
        self._waiting.setdefault(job_id(case_id, revision), (case_id, revision))

    def resume_orphans(self, dead_executors: Collection[str]) -> int:
        """Nothing: there are no other workers."""
        return 0

    def states(self) -> JobCounts:
        """Jobs not yet drained."""
        return JobCounts(waiting=len(self._waiting), running=0)

    def stop(self, timeout_s: float) -> None:
        """End pauses between tries."""
        self._stopping.set()

    def drain(self) -> None:
        """Run every waiting job to its end."""
        while self._waiting:
            _, (case_id, revision) = self._waiting.popitem()
            destinations = self._workflow.convert_case(_run, case_id, revision)
            if destinations is not None:
                self._workflow.deliver_case(_run, case_id, revision, destinations)


def _run(_name: str, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return step()
