"""A patient who is injected twice within the time that tracer shows; the first injection is known by headers only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.cases import CaseState, case_id_for
from service.dicom.injection import InjectionTimes
from service.dicom.records import InstanceHeader
from service.dicom.summaries import summarise
from service.storage.spool import Spool
from service.working import with_times_of_cases
from tests.builders.pairing_site import CASE, POLICY, SLICES, Site, soon
from tests.builders.received import NOON, series_uid
from tests.builders.t1_series import INJECTION, after, t1_headers

S = CaseState
DAY = timedelta(days=1)
LATER = timedelta(days=16, minutes=40)
"""Between the two injections; tracer is taken to show for longer."""
SECOND = case_id_for(series_uid(3), series_uid(4))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.tell(None)
    yield site
    site.ledger.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    yield spool
    spool.close()


def _scan(series: int, hours: float, injection: datetime | None = None) -> list[InstanceHeader]:
    when = after(hours) + (LATER if series > 2 else timedelta(0))
    return t1_headers(series, when, slices=SLICES, spacing=2.0, contrast_start=injection, contrast_route="INTRATHECAL")


def _first(site: Site) -> None:
    site.receive([*_scan(1, -1.0), *_scan(2, 1.5, INJECTION)], NOON)
    site.look(soon(seconds=30))
    site.move(S.RUNNING, at=soon(seconds=31))
    site.publish(site.read(), at=soon(seconds=60))
    site.move(S.DONE, at=soon(seconds=70))
    site.look(soon(seconds=80))
    assert (site.case().state, site.case().injection_time) == (S.DONE, INJECTION)


def _second(site: Site) -> None:
    site.receive([*_scan(3, -1.0), *_scan(4, 1.5, INJECTION + LATER)], NOON + LATER)
    site.look(NOON + LATER + timedelta(seconds=30), NOON + LATER + timedelta(seconds=60))


def _assert_the_second_baseline_is_not_used(site: Site) -> None:
    assert [case.case_id for case in site.ledger.cases.cases()] == [CASE]
    assert "BASELINE_MISSING" in [reason.code for wait in site.ledger.waiting.all() for reason in wait.reasons]
    site.look(NOON + LATER + POLICY.partner_wait + timedelta(minutes=1))
    assert "BASELINE_MISSING" in site.held()


def test_a_baseline_that_still_holds_tracer_of_an_earlier_injection_is_not_used(site: Site) -> None:
    _first(site)
    _second(site)
    _assert_the_second_baseline_is_not_used(site)


def test_nor_once_retention_has_removed_the_earlier_scans(site: Site, spool: Spool) -> None:
    _first(site)
    assert site.ledger.retention(spool, received=14 * DAY, results=None).sweep(NOON + 15 * DAY).series == 2
    _second(site)
    _assert_the_second_baseline_is_not_used(site)


def test_a_baseline_of_a_patient_whose_first_injection_has_washed_out_is_used(site: Site, spool: Spool) -> None:
    site.ledger.cases.open(
        CASE,
        state=S.QUEUED,
        patient_key=_key(site),
        baseline_series_uid=series_uid(1),
        delayed_series_uid=series_uid(2),
        injection_time=INJECTION + LATER - timedelta(hours=POLICY.washout_h + 24),
        now=NOON,
    )
    _second(site)
    assert site.case(SECOND).state is S.QUEUED


def test_what_was_injected_for_a_case_counts_while_no_person_or_pairing_doubts_it(site: Site) -> None:
    def known(*at_hand: int) -> frozenset[datetime]:
        series = [summarise(_scan(number, 0.0)) for number in at_hand]
        return with_times_of_cases(InjectionTimes(), site.ledger.cases, series).earlier

    site.ledger.cases.open(
        CASE,
        state=S.HELD,
        patient_key=_key(site),
        baseline_series_uid=series_uid(1),
        delayed_series_uid=series_uid(2),
        injection_time=INJECTION,
        now=NOON,
    )
    assert known(3) == frozenset()
    site.ledger.cases.supersede(_key(site), keep=[], now=NOON)
    assert known(3) == frozenset()
    site.ledger.cases.release(CASE, now=NOON)
    assert (known(3), known(2, 3)) == ({INJECTION}, frozenset())
    site.ledger.cases.discard(CASE, now=NOON)  # the case is over; the patient was injected all the same
    assert known(3) == {INJECTION}


def _key(site: Site) -> str:
    """Of the patient, to whom a scan that is of no use belongs."""
    site.receive(t1_headers(9, after(-2000.0), slices=range(3)), NOON)
    row = site.ledger.instances.series(series_uid(9))
    assert row is not None
    return row.patient_key
