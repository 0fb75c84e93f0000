"""The port to durable jobs: what the rest of the service sees of the queue, and what the queue calls."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from service.cases import CaseOutcome
from service.errors import PermanentError, Reason


class CaseSuperseded(PermanentError):
    """The case was discarded, finished, or taken up as another revision; this job has nothing left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion came to, and where its objects (result or refusal notice) go."""

    outcome: CaseOutcome
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """Jobs in the queue: waiting for a slot, and taken by a worker (including those between two tries)."""

    waiting: int
    running: int


class CaseSteps(Protocol):
    """The steps of one job. Each may run again after a crash and must then come to the same end.

    Any step may raise `RetryableError` (tried again, ever more slowly), `PermanentError` (the case
    fails) or `CaseSuperseded` (the job ends silently).
    """

    def convert(self, case_id: str, revision: int) -> Converted:
        """Make the result, or the refusal notice, durable on disk."""
        ...

    def deliver(self, case_id: str, revision: int, destination: str) -> None:
        """Send what the destination has not accepted yet."""
        ...

    def confirm(self, case_id: str, revision: int, destination: str) -> bool:
        """Ask whether the destination has it safely; False when not (yet)."""
        ...

    def close(self, case_id: str, revision: int) -> None:
        """Mark the case done."""
        ...

    def retrying(self, case_id: str, revision: int, reason: Reason) -> None:
        """Show the case red while the queue keeps trying."""
        ...

    def fail(self, case_id: str, revision: int, reasons: Collection[Reason]) -> None:
        """Show the case red; a person has to decide."""
        ...


class JobQueue(Protocol):
    """A durable queue of cases; one case and revision is one job however often it is submitted."""

    def start(self) -> None:
        """Begin to work, first on what this worker left unfinished."""
        ...

    def submit(self, case_id: str, revision: int) -> None:
        """Have the case converted and delivered; without effect while that job is waiting or running."""
        ...

    def resume_orphans(self, dead_executors: Collection[str]) -> int:
        """Take over the jobs of workers that are known to be dead; how many there were."""
        ...

    def states(self) -> JobCounts:
        """Figures for metrics and the status page."""
        ...

    def stop(self, timeout_s: float) -> None:
        """Stop taking jobs and wait for steps in work; what does not end in time runs again at the next start."""
        ...


def job_id(case_id: str, revision: int) -> str:
    """Idempotency key of a job."""
    return f"{case_id}-r{revision}"
