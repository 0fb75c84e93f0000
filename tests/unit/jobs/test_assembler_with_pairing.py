"""The assembler with the service's own summaries and pairing: time passes, series come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.cases import CaseState
from tests.builders.pairing_site import CASE, POLICY, Site, scan
from tests.builders.received import NOON


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def test_a_baseline_waits_is_held_and_is_paired_when_the_delayed_scan_comes_after_all(site: Site) -> None:
    site.receive(scan(1, -1.0), NOON)
    assert site.assembler.tick(NOON + timedelta(hours=1)) == ()
    assert site.assembler.tick(NOON + POLICY.partner_wait - timedelta(seconds=1)) == ()
    site.assembler.tick(NOON + POLICY.partner_wait)
    assert site.held() == ["DELAYED_MISSING"]
    late = NOON + POLICY.partner_wait + timedelta(hours=1)
    site.receive(scan(2, 1.5), late)
    site.assembler.tick(late + timedelta(seconds=4))
    assert site.queue.states().waiting == 0
    (case,) = site.assembler.tick(late + timedelta(seconds=6))
    assert (case.case_id, case.state, case.hours_after_injection) == (CASE, CaseState.QUEUED, 1.5)
    site.assembler.tick(late + timedelta(seconds=30))
    assert site.held() == []


def test_a_slice_that_comes_late_lets_the_pair_go_at_once(site: Site) -> None:
    delayed = scan(2, 1.5)
    site.receive(scan(1, -1.0), NOON)
    site.receive(delayed[:40] + delayed[41:], NOON)
    assert site.assembler.tick(NOON + timedelta(minutes=30)) == ()
    site.receive(delayed[40:41], NOON + timedelta(minutes=31))
    (case,) = site.assembler.tick(NOON + timedelta(minutes=31, seconds=6))
    assert (case.case_id, case.state) == (CASE, CaseState.QUEUED)


def test_a_slice_that_never_comes_holds_the_pair_with_what_is_missing(site: Site) -> None:
    delayed = scan(2, 1.5)
    site.receive(scan(1, -1.0), NOON)
    site.receive(delayed[:40] + delayed[41:], NOON)
    site.assembler.tick(NOON + timedelta(minutes=1))
    (case,) = site.assembler.tick(NOON + POLICY.incomplete_wait)
    assert (case.case_id, case.state) == (CASE, CaseState.HELD)
    assert [(reason.code, reason.measured, reason.limit) for reason in case.reasons] == [("SERIES_INCOMPLETE", 74, 75)]


def test_a_repeated_scan_opens_a_case_to_choose_from_and_leaves_the_first_pair_alone(site: Site) -> None:
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON)
    site.assembler.tick(NOON + timedelta(seconds=6))
    site.receive(scan(3, 1.6), NOON + timedelta(minutes=5))
    site.assembler.tick(NOON + timedelta(minutes=6))
    assert site.ledger.cases.case(CASE).state is CaseState.QUEUED
    assert site.held() == ["AMBIGUOUS_PAIR"]
