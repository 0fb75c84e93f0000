"""Ledger, queue and assembler with the service's own summaries and pairing; the table of injection times is set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from service.cases import Case, CaseOutcome, CaseState, case_id_for
from service.dicom.injection import InjectionTimes, TableEntry
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.summaries import summarise
from service.dicom.verdicts import Verdict
from service.jobs.assembler import Assembler
from service.jobs.memory_queue import MemoryQueue
from service.jobs.retry import RetryPolicy
from service.storage.ledger import Ledger
from service.storage.used_series import UsedSeries
from service.working import with_times_of_cases
from tests.builders.received import NOON, make_stored, series_uid
from tests.builders.scripted_steps import ScriptedSteps
from tests.builders.t1_series import INJECTION, after, t1_headers

POLICY = PairingPolicy()
CASE = case_id_for(series_uid(1), series_uid(2))
SLICES = range(75)


def scan(series: int, hours: float, slices: Sequence[int] = SLICES) -> list[InstanceHeader]:
    """Headers of a scan so many hours after the injection."""
    return t1_headers(series, after(hours), slices=slices, spacing=2.0)


def soon(**span: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(**span)


class Site:
    """Where series come and time passes; `url` names the ledger if it is not to be a file below `root`."""

    def __init__(self, root: Path, url: str = "") -> None:
        self.ledger = Ledger.open(url or f"sqlite:///{root}/ledger.sqlite")
        self.queue = MemoryQueue(ScriptedSteps(), policy=RetryPolicy())
        self.tell(INJECTION)
        self.assembler = Assembler(
            self.ledger, self.queue, summarise=summarise, pair=self._pair, quiet=timedelta(seconds=20)
        )

    def _pair(
        self, series: Sequence[SeriesSummary], now: datetime, /, *, last_received: Mapping[str, datetime]
    ) -> Sequence[Verdict]:
        times = with_times_of_cases(self._times, self.ledger.cases, series)
        return pair(series, now, policy=POLICY, injection_times=times, last_received=last_received)

    def tell(self, injection: datetime | None) -> None:
        """Set the patient's row of the table; None for no row."""
        self._times = InjectionTimes(table={"P1": (TableEntry(injection_time=injection),)} if injection else {})

    def receive(self, headers: Sequence[InstanceHeader], at: datetime) -> None:
        """Record what comes at that time."""
        for header in headers:
            self.ledger.instances.record(make_stored(header, at=at), header)

    def look(self, *moments: datetime) -> None:
        """Let the assembler look at each of these times."""
        for moment in moments:
            self.assembler.tick(moment)

    def case(self, case_id: str = CASE) -> Case:
        """One case; of the first two series unless another is named."""
        return self.ledger.cases.case(case_id)

    def move(self, *states: CaseState, at: datetime) -> None:
        """Do a worker's part of the case of the first two series."""
        for state in states:
            outcome = CaseOutcome.PREDICTED if state is CaseState.SENDING else None
            self.ledger.cases.transition(CASE, expected=tuple(CaseState), to=state, outcome=outcome, now=at)

    def read(self) -> tuple[UsedSeries, ...]:
        """The series of that case, as a conversion would read them now."""
        return tuple(
            UsedSeries.of(uid, self.ledger.instances.sop_instance_uids_of(uid))
            for uid in (series_uid(1), series_uid(2))
        )

    def publish(self, used: Collection[UsedSeries], at: datetime) -> None:
        """Have its running conversion end, made from these images."""
        self.ledger.used.record(CASE, self.case().revision, used, at)
        self.move(CaseState.SENDING, at=at)

    def held(self) -> list[str]:
        """What is held, by the first reason of each."""
        return [case.reasons[0].code for case in self.ledger.cases.cases(CaseState.HELD)]
