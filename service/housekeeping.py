"""The service's regular work that one process at a time does: pair what arrived, submit, remove what is old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from service.cases import CaseState
from service.injection_file import InjectionFile
from service.jobs.assembler import Assembler
from service.jobs.port import JobQueue
from service.jobs.recovery import Leadership, resubmit_unfinished
from service.rounds import Rounds, attempt
from service.storage.ledger import Ledger
from service.storage.retention import Retention

TICK_S = 1.0
"""Pause between two looks at what arrived; the end of an association cuts it short."""
_SUBMIT = timedelta(seconds=5)
_SWEEP = timedelta(hours=1)
_log = structlog.get_logger()


class Housekeeping:
    """One thread that does it all in turn, in the process that leads; in the others it waits for its time to come.

    Parameters
    ----------
    recover
        Called when this process has come to lead, before anything else.
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: JobQueue,
        *,
        leadership: Leadership,
        assembler: Assembler,
        retention: Retention,
        injection_file: InjectionFile,
        recover: Callable[[], None] = lambda: None,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._leadership = leadership
        self._assembler = assembler
        self._retention = retention
        self._injection_file = injection_file
        self._recover = recover
        self._leads = False
        self._held_are_stale = True  # the table may have changed while no service ran, or another led
        self._submitted = self._swept = datetime.min.replace(tzinfo=UTC)
        self._rounds = Rounds("housekeeping", self.turn, pause_s=TICK_S, now=now, at_once=True)

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def wake(self) -> None:
        """Something arrived: look now."""
        self._rounds.wake()

    def stop(self, timeout_s: float) -> None:
        """End after the work in hand."""
        self._rounds.stop(timeout_s)

    def turn(self, now: datetime) -> None:
        """Everything that is due at `now`; what fails is logged, repeated at the next turn, and stops nothing else."""
        if not self._leadership.held:
            self._leads = False
            return
        if not self._leads:
            self._leads = attempt(self._take_the_lead, now)
        for duty in (self._follow_injection_file, self._assembler.tick, self._submit_queued, self._sweep):
            attempt(duty, now)

    def _take_the_lead(self, _: datetime) -> None:
        self._held_are_stale = True
        self._recover()
        resubmit_unfinished(self._ledger.cases, self._queue)

    def _follow_injection_file(self, _: datetime) -> None:
        self._held_are_stale |= self._injection_file.changed()
        if self._held_are_stale:
            self._assembler.look_again()
            self._held_are_stale = False

    def _submit_queued(self, now: datetime) -> None:
        """Hand over what another process (`csf24 cases retry`) queued in the ledger."""
        if now - self._submitted < _SUBMIT:
            return
        for case in self._ledger.cases.cases(CaseState.QUEUED):
            self._queue.submit(case.case_id, case.revision)
        self._submitted = now

    def _sweep(self, now: datetime) -> None:
        if now - self._swept >= _SWEEP:
            removed = self._retention.sweep(now)
            if removed.files or removed.results:
                _log.info("retention", series=removed.series, files=removed.files, results=removed.results)
            self._swept = now
