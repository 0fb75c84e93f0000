"""The assembler with the service's own summaries and pairing: time passes, series come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from service.cases import CaseState, case_id_for
from service.dicom.injection import InjectionTimes, TableEntry
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import InstanceHeader
from service.dicom.summaries import summarise
from service.jobs.assembler import Assembler
from service.jobs.memory_queue import MemoryQueue
from service.jobs.retry import RetryPolicy
from service.storage.ledger import Ledger
from tests.builders.received import NOON, make_stored, series_uid
from tests.builders.scripted_steps import ScriptedSteps
from tests.builders.t1_series import INJECTION, after, t1_headers

POLICY = PairingPolicy()
CASE = case_id_for(series_uid(1), series_uid(2))
SLICES = range(75)


class Site:
    def __init__(self, root: Path) -> None:
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self.queue = MemoryQueue(ScriptedSteps(), policy=RetryPolicy())
        times = InjectionTimes(table={"P1": (TableEntry(injection_time=INJECTION),)})
        self.assembler = Assembler(
            self.ledger,
            self.queue,
            summarise=summarise,
            pair=partial(pair, policy=POLICY, injection_times=times),
            quiet=timedelta(seconds=20),
        )

    def receive(self, headers: Sequence[InstanceHeader], at: datetime) -> None:
        for header in headers:
            self.ledger.instances.record(make_stored(header, at=at), header)

    def held(self) -> list[str]:
        return [case.reasons[0].code for case in self.ledger.cases.cases(CaseState.HELD)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def _scan(series: int, hours: float, slices: Sequence[int] = SLICES) -> list[InstanceHeader]:
    return t1_headers(series, after(hours), slices=slices, spacing=2.0)


def test_a_baseline_waits_is_held_and_is_paired_when_the_delayed_scan_comes_after_all(site: Site) -> None:
    site.receive(_scan(1, -1.0), NOON)
    assert site.assembler.tick(NOON + timedelta(hours=1)) == ()
    assert site.assembler.tick(NOON + POLICY.partner_wait - timedelta(seconds=1)) == ()
    site.assembler.tick(NOON + POLICY.partner_wait)
    assert site.held() == ["DELAYED_MISSING"]
    late = NOON + POLICY.partner_wait + timedelta(hours=1)
    site.receive(_scan(2, 1.5), late)
    site.assembler.tick(late + timedelta(seconds=4))
    assert site.queue.states().waiting == 0
    (case,) = site.assembler.tick(late + timedelta(seconds=6))
    assert (case.case_id, case.state, case.hours_after_injection) == (CASE, CaseState.QUEUED, 1.5)
    site.assembler.tick(late + timedelta(seconds=30))
    assert site.held() == []


def test_a_slice_that_comes_late_lets_the_pair_go_at_once(site: Site) -> None:
    delayed = _scan(2, 1.5)
    site.receive(_scan(1, -1.0), NOON)
    site.receive(delayed[:40] + delayed[41:], NOON)
    assert site.assembler.tick(NOON + timedelta(minutes=30)) == ()
    site.receive(delayed[40:41], NOON + timedelta(minutes=31))
    (case,) = site.assembler.tick(NOON + timedelta(minutes=31, seconds=6))
    assert (case.case_id, case.state) == (CASE, CaseState.QUEUED)


def test_a_slice_that_never_comes_holds_the_pair_with_what_is_missing(site: Site) -> None:
    delayed = _scan(2, 1.5)
    site.receive(_scan(1, -1.0), NOON)
    site.receive(delayed[:40] + delayed[41:], NOON)
    site.assembler.tick(NOON + timedelta(minutes=1))
    (case,) = site.assembler.tick(NOON + POLICY.incomplete_wait)
    assert (case.case_id, case.state) == (CASE, CaseState.HELD)
    assert [(reason.code, reason.measured, reason.limit) for reason in case.reasons] == [("SERIES_INCOMPLETE", 74, 75)]


def test_a_repeated_scan_opens_a_case_to_choose_from_and_leaves_the_first_pair_alone(site: Site) -> None:
    site.receive([*_scan(1, -1.0), *_scan(2, 1.5)], NOON)
    site.assembler.tick(NOON + timedelta(seconds=6))
    site.receive(_scan(3, 1.6), NOON + timedelta(minutes=5))
    site.assembler.tick(NOON + timedelta(minutes=6))
    assert site.ledger.cases.case(CASE).state is CaseState.QUEUED
    assert site.held() == ["AMBIGUOUS_PAIR"]
