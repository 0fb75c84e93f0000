"""What pairing itself has closed comes back when pairing or a person wants it after all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.cases import CaseState
from service.storage.case_rows import IllegalTransition
from tests.builders.pairing_site import CASE, Site, scan, soon
from tests.builders.received import NOON, series_uid
from tests.builders.t1_series import INJECTION


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def _held_until_a_row_with_a_typo_is_given_up(site: Site) -> None:
    site.tell(None)
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON)
    site.look(soon(seconds=30), soon(seconds=60))
    assert (site.case().state, site.held()) == (CaseState.HELD, ["INJECTION_TIME_MISSING"])
    site.tell(INJECTION - timedelta(hours=2, minutes=30))
    site.assembler.look_again()
    site.look(soon(minutes=10), soon(hours=48, minutes=1))


def _correct_the_row(site: Site) -> None:
    site.tell(INJECTION)
    site.assembler.look_again()
    site.look(soon(hours=48, minutes=2), soon(hours=48, minutes=3))


def test_a_pair_that_a_wrong_row_of_the_table_closed_goes_on_when_the_row_is_corrected(site: Site) -> None:
    _held_until_a_row_with_a_typo_is_given_up(site)
    assert (site.case().state, site.held()) == (CaseState.DISCARDED, ["BASELINE_MISSING"])
    _correct_the_row(site)
    case = site.case()
    assert (case.state, case.hours_after_injection, case.superseded) == (CaseState.QUEUED, 1.5, False)
    assert (site.held(), site.queue.states().waiting) == ([], 1)


def test_a_pair_that_pairing_closed_is_held_again_when_it_is_doubtful_again(site: Site) -> None:
    _held_until_a_row_with_a_typo_is_given_up(site)
    site.tell(None)
    site.assembler.look_again()
    site.look(soon(hours=48, minutes=2), soon(hours=48, minutes=3))
    assert (site.case().state, site.held()) == (CaseState.HELD, ["INJECTION_TIME_MISSING"])


def test_a_pair_that_a_person_discarded_stays_closed_when_pairing_wants_it(site: Site) -> None:
    site.tell(None)
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON)
    site.look(soon(seconds=30), soon(seconds=60))
    site.ledger.cases.discard(CASE, now=soon(minutes=5))
    _correct_the_row(site)
    assert (site.case().state, site.queue.states().waiting) == (CaseState.DISCARDED, 0)
    with pytest.raises(IllegalTransition, match="discarded and cannot become queued"):
        site.ledger.cases.release(CASE, now=soon(hours=49))


def test_a_pair_that_pairing_closed_for_a_repeated_scan_can_be_chosen_by_a_person(site: Site) -> None:
    delayed = scan(2, 1.5)
    site.receive([*scan(1, -1.0), *delayed[:40], *delayed[41:]], NOON)
    site.look(soon(seconds=30), soon(minutes=61))
    assert site.held() == ["SERIES_INCOMPLETE"]
    site.receive(scan(3, 1.6), soon(minutes=70))
    site.receive(delayed[40:41], soon(minutes=71))
    site.look(soon(minutes=72), soon(minutes=73), soon(minutes=75))
    (choice,) = site.ledger.cases.cases(CaseState.HELD)
    assert choice.reasons[0].code == "AMBIGUOUS_PAIR"
    case = site.ledger.cases.release(
        choice.case_id, baseline_series_uid=series_uid(1), delayed_series_uid=series_uid(2), now=soon(minutes=80)
    )
    assert (case.case_id, case.state) == (CASE, CaseState.QUEUED)
    site.look(soon(minutes=81))
    assert (site.case().state, site.held()) == (CaseState.QUEUED, [])


def test_what_a_person_released_while_pairing_looked_is_not_closed(site: Site) -> None:
    site.tell(None)
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON)
    site.look(soon(seconds=30), soon(seconds=60))
    row = site.ledger.instances.series(series_uid(1))
    assert row is not None
    site.ledger.cases.release(CASE, injection_time=INJECTION, now=soon(minutes=2))
    site.ledger.cases.supersede(row.patient_key, keep=[], now=soon(minutes=3))
    assert site.case().state is CaseState.QUEUED
