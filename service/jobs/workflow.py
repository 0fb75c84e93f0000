"""The course of a case: convert, then per destination deliver and confirm, then close.

Written without the engine, so that the durable queue and its in-memory twin run the same lines.
What a step returns to the workflow is recorded by the engine and must be plain JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any, Protocol

import structlog

from service.errors import InputRefused, PermanentError, Reason, RetryableError, places_of
from service.jobs.port import CaseSteps, CaseSuperseded
from service.jobs.retry import RetryPolicy, persist

WORKFLOW_SHAPE = "csf24-workflow-1"
"""Version of the sequence of steps below. Raise it when steps are added, removed, renamed or reordered.

Jobs of another shape are not continued in the middle but started anew; every step is idempotent.
"""

_log = structlog.get_logger()
_Json = dict[str, Any]


class RecordedStep(Protocol):
    """Runs a step once and records what it returned; after a crash gives the record instead."""

    def __call__(self, name: str, step: Callable[[], _Json], /) -> _Json:
        """Result of the step, fresh or recorded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWorkflow:
    """The steps with their patience."""

    steps: CaseSteps
    policy: RetryPolicy
    stopping: Event

    def convert_case(self, record: RecordedStep, case_id: str, revision: int) -> tuple[str, ...] | None:
        """Convert; the destinations to deliver to, or None when the job ends here."""

        def convert() -> _Json:
            converted = self.steps.convert(case_id, revision)
            return {"outcome": converted.outcome.value, "destinations": list(converted.destinations)}

        result = record("convert", lambda: self._judged(convert, case_id, revision))
        if "destinations" in result:
            return tuple(result["destinations"])
        self._fail(record, case_id, revision, result)
        return None

    def deliver_case(self, record: RecordedStep, case_id: str, revision: int, destinations: Sequence[str]) -> None:
        """Deliver to every destination and close; one that refuses for good does not keep the others waiting."""
        failures: list[_Json] = []
        for destination in destinations:
            result = self._deliver_to(record, case_id, revision, destination)
            if result.get("superseded"):
                return
            failures += result.get("reasons", [])
        if failures:
            self._fail(record, case_id, revision, {"reasons": failures})
            return

        def close() -> _Json:
            self.steps.close(case_id, revision)
            return {}

        self._fail(record, case_id, revision, record("close", lambda: self._judged(close, case_id, revision)))

    def _deliver_to(self, record: RecordedStep, case_id: str, revision: int, destination: str) -> _Json:
        def deliver() -> _Json:
            self.steps.deliver(case_id, revision, destination)
            return {}

        def confirm() -> _Json:
            # Sends again only what the destination was found not to have; costs nothing otherwise.
            self.steps.deliver(case_id, revision, destination)
            if not self.steps.confirm(case_id, revision, destination):
                raise RetryableError(f"{destination} has not confirmed that it keeps the objects")
            return {}

        sent = record(f"deliver:{destination}", lambda: self._judged(deliver, case_id, revision))
        return sent or record(f"confirm:{destination}", lambda: self._judged(confirm, case_id, revision))

    def _fail(self, record: RecordedStep, case_id: str, revision: int, result: _Json) -> None:
        """Mark the case failed if `result` says so."""
        reasons = tuple(Reason(**reason) for reason in result.get("reasons", ()))
        if not reasons:
            return

        def fail() -> _Json:
            self.steps.fail(case_id, revision, reasons)
            return {}

        record("fail", lambda: self._judged(fail, case_id, revision))

    def _judged(self, step: Callable[[], _Json], case_id: str, revision: int) -> _Json:
        """Run a step to its end: its own result, ``reasons`` when it failed, or ``superseded``."""

        def on_retry(fault: RetryableError) -> None:
            _log.warning("step will be tried again", case_id=case_id, revision=revision, fault=str(fault))
            try:
                self.steps.retrying(case_id, revision, _reason(fault))
            except RetryableError as unreachable:  # the ledger itself is what fails
                _log.warning("cannot show the retry", case_id=case_id, fault=str(unreachable))

        try:
            return persist(step, policy=self.policy, stopping=self.stopping, on_retry=on_retry)
        except CaseSuperseded:
            return {"superseded": True}
        except InputRefused as refusal:
            return {"reasons": [asdict(reason) for reason in refusal.reasons]}
        except PermanentError as fault:
            return {"reasons": [asdict(_reason(fault))]}
        except Exception as fault:  # noqa: BLE001  # border to the engine: a bug fails its case, not the worker
            kind = type(fault).__name__
            _log.error("unexpected error in a step", case_id=case_id, kind=kind, places=places_of(fault))
            message = f"an unexpected {kind} ended the step; the service log has the place"
            return {"reasons": [asdict(Reason(code="INTERNAL_ERROR", message=message))]}


def _reason(fault: PermanentError | RetryableError) -> Reason:
    """Reason record of an error that has none of its own; coded by its class, e.g. PEER_UNAVAILABLE."""
    name = type(fault).__name__
    code = "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()
    return Reason(code=code, message=str(fault))
