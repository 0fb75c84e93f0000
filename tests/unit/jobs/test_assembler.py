from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.cases import CaseState, case_id_for
from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.verdicts import Held, Paired, Unpairable, Verdict, Waiting
from service.errors import InputRefused, Reason
from service.jobs.assembler import Assembler
from service.jobs.memory_queue import MemoryQueue
from service.jobs.retry import RetryPolicy
from service.storage.ledger import Ledger
from tests.builders.received import NOON, make_header, make_stored, series_uid, summarise
from tests.builders.scripted_steps import ScriptedSteps

ONE, TWO, THREE = series_uid(1), series_uid(2), series_uid(3)
CASE = case_id_for(ONE, TWO)
QUIET = timedelta(seconds=20)
WHY = Reason(code="NO_INJECTION_TIME", message="supply it")
FOUND = Paired(
    baseline_series_uid=ONE,
    delayed_series_uid=TWO,
    injection_time=None,
    hours_after_injection=1.5,
    wait=timedelta(0),
)


def seconds(n: float) -> datetime:
    return NOON + timedelta(seconds=n)


class Bench:
    """An assembler whose pairing the test decides, given the UIDs of the series that arrived."""

    def __init__(self, root: Path) -> None:
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self.queue = MemoryQueue(ScriptedSteps(), policy=RetryPolicy())
        self.decide: Callable[[tuple[str, ...]], Sequence[Verdict]] = lambda uids: ()
        self.looks = 0
        self.last_received: Mapping[str, datetime] = {}
        self.unusable: set[str] = set()
        self.assembler = Assembler(self.ledger, self.queue, summarise=self._summarise, pair=self._pair, quiet=QUIET)

    def _summarise(self, headers: Sequence[InstanceHeader]) -> SeriesSummary:
        if headers[0].series_instance_uid in self.unusable:
            raise InputRefused(Reason(code="MIXED_ORIENTATION", message="stray"))
        return summarise(headers)

    def _pair(
        self, series: Sequence[SeriesSummary], now: datetime, *, last_received: Mapping[str, datetime]
    ) -> Sequence[Verdict]:
        self.looks += 1
        self.last_received = last_received
        return self.decide(tuple(item.series_instance_uid for item in series))

    def receive(self, series: int, number: int = 1, *, at: datetime = NOON, content: str = "a") -> None:
        header = make_header(series, number)
        self.ledger.instances.record(make_stored(header, content, at), header)

    @property
    def waiting(self) -> int:
        return self.queue.states().waiting

    def state(self, case_id: str = CASE) -> CaseState:
        return self.ledger.cases.case(case_id).state


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.ledger.close()


def _when_both(verdict: Verdict) -> Callable[[tuple[str, ...]], Sequence[Verdict]]:
    return lambda uids: [verdict] if {ONE, TWO} <= set(uids) else [Waiting(series_uids=uids)]


def test_a_complete_pair_is_queued_at_once(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    assert bench.assembler.tick(seconds(0.1)) == ()
    bench.receive(2, at=seconds(1))
    (case,) = bench.assembler.tick(seconds(1.1))
    assert (case.case_id, case.state, case.hours_after_injection) == (CASE, CaseState.QUEUED, 1.5)
    assert bench.waiting == 1


def test_a_pair_of_doubtful_completeness_waits_until_it_is_quiet(bench: Bench) -> None:
    unsure = Paired(
        baseline_series_uid=ONE,
        delayed_series_uid=TWO,
        injection_time=None,
        hours_after_injection=1.5,
    )
    bench.decide = _when_both(unsure)
    bench.receive(1)
    bench.receive(2)
    assert bench.assembler.tick(seconds(1)) == ()
    bench.receive(2, number=2, at=seconds(15))
    assert bench.assembler.tick(seconds(21)) == ()
    assert [case.case_id for case in bench.assembler.tick(seconds(36))] == [CASE]


def test_a_pair_whose_grids_agree_waits_its_own_short_time(bench: Bench) -> None:
    bench.decide = _when_both(replace(FOUND, wait=timedelta(seconds=5)))
    bench.receive(1)
    bench.receive(2)
    assert bench.assembler.tick(seconds(4)) == ()
    assert [case.case_id for case in bench.assembler.tick(seconds(6))] == [CASE]


def test_a_series_that_can_be_no_part_of_a_pair_is_held_and_the_pair_goes_on(bench: Bench) -> None:
    bench.decide = lambda uids: [Unpairable(series_uids=(THREE,), reasons=(WHY,)), FOUND]
    for series in (1, 2, 3):
        bench.receive(series)
    cases = bench.assembler.tick(seconds(21))
    assert {case.state for case in cases} == {CaseState.HELD, CaseState.QUEUED}


def test_a_patient_without_news_is_not_looked_at_again(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    for second in range(60):
        bench.assembler.tick(seconds(second))
    assert bench.looks == 2  # at arrival, and once it was quiet
    bench.receive(2, at=seconds(3600))
    bench.assembler.tick(seconds(3601))
    assert bench.looks == 3
    assert bench.state() is CaseState.QUEUED


def test_pairing_again_opens_and_submits_nothing_twice(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    bench.receive(2)
    for second in range(40):
        bench.assembler.tick(seconds(second))
    assert len(bench.ledger.cases.cases()) == 1
    assert bench.waiting == 1
    assert [event.kind for event in bench.ledger.cases.events(CASE)] == ["queued"]


def test_a_doubtful_pair_is_held_with_its_reasons_once_it_is_quiet(bench: Bench) -> None:
    bench.decide = _when_both(
        Held(series_uids=(ONE, TWO), reasons=(WHY,), baseline_series_uid=ONE, delayed_series_uid=TWO)
    )
    bench.receive(1)
    bench.receive(2)
    assert bench.assembler.tick(seconds(1)) == ()
    (case,) = bench.assembler.tick(seconds(21))
    assert (case.case_id, case.state, case.reasons) == (CASE, CaseState.HELD, (WHY,))
    assert bench.waiting == 0


def test_a_case_released_by_a_person_is_not_held_again(bench: Bench) -> None:
    bench.decide = _when_both(
        Held(series_uids=(ONE, TWO), reasons=(WHY,), baseline_series_uid=ONE, delayed_series_uid=TWO)
    )
    bench.receive(1)
    bench.receive(2)
    bench.assembler.tick(seconds(21))
    bench.ledger.cases.release(CASE, injection_time=NOON, now=seconds(30))
    bench.receive(3, at=seconds(40))
    bench.assembler.tick(seconds(100))
    assert bench.state() is CaseState.QUEUED
    assert len(bench.ledger.cases.cases()) == 1


def test_a_held_choice_is_closed_when_pairing_can_decide(bench: Bench) -> None:
    ambiguous = Held(series_uids=(ONE, TWO, THREE), reasons=(WHY,))
    bench.decide = lambda uids: [ambiguous]
    for series in (1, 2, 3):
        bench.receive(series)
    (held,) = bench.assembler.tick(seconds(21))
    bench.decide = lambda uids: [FOUND]
    bench.receive(3, number=2, at=seconds(60))
    bench.assembler.tick(seconds(100))
    assert bench.state(held.case_id) is CaseState.DISCARDED
    assert bench.state() is CaseState.QUEUED


def test_conflicting_instances_hold_the_pair(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    bench.receive(2)
    bench.receive(2, content="other")
    bench.assembler.tick(seconds(1))
    case = bench.ledger.cases.case(CASE)
    assert (case.state, case.reasons[0].code, case.reasons[0].measured) == (
        CaseState.HELD,
        "CONFLICTING_INSTANCES",
        1.0,
    )


def _grown_in_work(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    bench.receive(2)
    bench.assembler.tick(seconds(1))
    bench.ledger.cases.transition(CASE, expected=[CaseState.QUEUED], to=CaseState.RUNNING, now=seconds(2))
    bench.receive(2, number=2, at=seconds(3))


def test_a_series_that_grows_after_it_was_used_is_put_on_record(bench: Bench) -> None:
    _grown_in_work(bench)
    bench.assembler.tick(seconds(4))
    bench.ledger.cases.transition(CASE, expected=[CaseState.RUNNING], to=CaseState.SENDING, now=seconds(8))
    for second in (9, 10, 30):
        bench.assembler.tick(seconds(second))
    late = [event.text for event in bench.ledger.cases.events(CASE) if event.kind == "late-arrival"]
    assert late == ["more of the delayed series came after it was used: 2 instances and 0 conflicts now"]


def test_a_series_that_cannot_be_summarised_does_not_disturb_the_others(bench: Bench) -> None:
    bench.unusable = {THREE}
    bench.decide = _when_both(FOUND)
    for series in (3, 1, 2):
        bench.receive(series)
    bench.assembler.tick(seconds(1))
    assert bench.state() is CaseState.QUEUED


def test_pairing_is_told_when_each_series_last_grew(bench: Bench) -> None:
    bench.receive(1)
    bench.receive(1, number=2, at=seconds(7))
    bench.receive(2, at=seconds(3))
    bench.assembler.tick(seconds(8))
    assert bench.last_received == {ONE: seconds(7), TWO: seconds(3)}


def test_a_missing_series_is_asked_for_again_at_its_time(bench: Bench) -> None:
    until = seconds(3600)
    bench.decide = lambda uids: (
        [Waiting(series_uids=(ONE,), until=until)]
        if bench.looks < 3
        else [Held(series_uids=(ONE,), reasons=(WHY,), baseline_series_uid=ONE)]
    )
    bench.receive(1)
    for at in (1, 21, 100, 3000):
        assert bench.assembler.tick(seconds(at)) == ()
    (case,) = bench.assembler.tick(seconds(3601))
    assert (case.state, case.baseline_series_uid, case.delayed_series_uid) == (CaseState.HELD, ONE, "")


def test_a_scan_of_the_next_day_is_noted_for_its_case_and_again_when_it_grows(bench: Bench) -> None:
    followed = replace(FOUND, follow_up_series_uid=THREE, follow_up_hours=24.0)
    bench.decide = lambda uids: [followed if THREE in uids else FOUND]
    bench.receive(1)
    bench.receive(2)
    bench.assembler.tick(seconds(30))
    assert bench.ledger.follow_ups.all() == ()
    for number in (1, 2):
        bench.receive(3, number, at=seconds(90_000))
        bench.assembler.tick(seconds(90_001 + number))
        (found,) = bench.ledger.follow_ups.all()
        assert (found.case_id, found.series_uid, found.instances) == (CASE, THREE, number)
    assert bench.waiting == 1


def _finish(bench: Bench, at: datetime) -> None:
    for state in (CaseState.RUNNING, CaseState.SENDING, CaseState.DONE):
        bench.ledger.cases.transition(CASE, expected=tuple(CaseState), to=state, now=at)


def test_a_series_that_grows_after_its_result_was_delivered_is_converted_anew_once(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    bench.receive(2)
    bench.assembler.tick(seconds(1))
    _finish(bench, seconds(2))
    bench.receive(2, number=2, at=seconds(3))
    for second in (3.1, 4, 30, 60):
        bench.assembler.tick(seconds(second))
    case = bench.ledger.cases.case(CASE)
    assert (case.state, case.revision, case.replaces) == (CaseState.QUEUED, 2, 1)


def test_what_comes_while_a_case_is_in_work_replaces_its_result_afterwards(bench: Bench) -> None:
    _grown_in_work(bench)
    for second in (4, 30, 60):
        bench.assembler.tick(seconds(second))
    assert bench.ledger.cases.case(CASE).revision == 1
    for state in (CaseState.SENDING, CaseState.DONE):
        bench.ledger.cases.transition(CASE, expected=tuple(CaseState), to=state, now=seconds(61))
    bench.assembler.tick(seconds(70))
    assert (bench.state(), bench.ledger.cases.case(CASE).revision) == (CaseState.QUEUED, 2)


def test_a_second_content_of_a_known_image_makes_nothing_anew(bench: Bench) -> None:
    bench.decide = _when_both(FOUND)
    bench.receive(1)
    bench.receive(2)
    bench.assembler.tick(seconds(1))
    _finish(bench, seconds(2))
    bench.receive(2, at=seconds(3), content="b")
    for second in (4, 30, 60):
        bench.assembler.tick(seconds(second))
    assert (bench.state(), bench.ledger.cases.case(CASE).revision) == (CaseState.DONE, 1)


def test_what_is_waited_for_is_on_record_while_it_is(bench: Bench) -> None:
    bench.decide = lambda uids: (
        [FOUND] if {ONE, TWO} <= set(uids) else [Waiting(series_uids=uids, until=seconds(60), reasons=(WHY,))]
    )
    bench.receive(1, at=seconds(1))
    bench.assembler.tick(seconds(2))
    (wait,) = bench.ledger.waiting.all()
    assert (wait.series, wait.since, wait.until, wait.reasons) == (1, seconds(1), seconds(60), (WHY,))
    bench.receive(2, at=seconds(3))
    bench.assembler.tick(seconds(4))
    assert bench.ledger.waiting.all() == ()
