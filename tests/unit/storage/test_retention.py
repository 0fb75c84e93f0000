from __future__ import annotations

from datetime import datetime, timedelta

from service.cases import CaseOutcome, CaseState, case_id_for
from service.storage.ledger import Ledger
from service.storage.retention import Removed
from service.storage.spool import Spool
from tests.builders.received import NOON, make_header, series_uid, spool_one

CASE = case_id_for(series_uid(1), series_uid(2))
NOTHING = Removed(series=0, files=0, results=0)
DAY = timedelta(days=1)


def _receive(ledger: Ledger, spool: Spool, series: int) -> None:
    header = make_header(series)
    ledger.instances.record(spool_one(spool, header), header)
    ledger.instances.settle(ledger.instances.series_of_patient(_key(ledger, series)))


def _key(ledger: Ledger, series: int) -> str:
    row = ledger.instances.series(series_uid(series))
    assert row is not None
    return row.patient_key


def _pair(ledger: Ledger, spool: Spool, state: CaseState) -> None:
    for series in (1, 2):
        _receive(ledger, spool, series)
    ledger.cases.open(
        CASE,
        state=CaseState.QUEUED,
        patient_key=_key(ledger, 1),
        baseline_series_uid=series_uid(1),
        delayed_series_uid=series_uid(2),
        now=NOON,
    )
    steps = {
        CaseState.QUEUED: (),
        CaseState.SENDING: (CaseState.RUNNING, CaseState.SENDING),
        CaseState.DONE: (CaseState.RUNNING, CaseState.SENDING, CaseState.DONE),
    }[state]
    found = CaseState.QUEUED
    for to in steps:
        ledger.cases.transition(CASE, expected=[found], to=to, outcome=CaseOutcome.PREDICTED, now=NOON)
        found = to
    spool.publish_result(CASE, 1, lambda draft: (draft / "report.json").write_text("{}") and None)


def _sweep(ledger: Ledger, spool: Spool, now: datetime, days: int = 14) -> Removed:
    return ledger.retention(spool, received=days * DAY, results=days * DAY).sweep(now)


def _files(spool: Spool) -> int:
    return len(list(spool.root.glob("objects/*/*.dcm")))


def test_a_delivered_case_leaves_the_disk_when_it_is_old_enough(ledger: Ledger, spool: Spool) -> None:
    _pair(ledger, spool, CaseState.DONE)
    assert _sweep(ledger, spool, NOON + 13 * DAY) == NOTHING
    assert _sweep(ledger, spool, NOON + 15 * DAY) == Removed(series=2, files=2, results=1)
    assert _files(spool) == 0
    assert not spool.result_path(CASE, 1).exists()
    assert ledger.cases.case(CASE).state is CaseState.DONE
    assert ledger.instances.series(series_uid(1)) is None


def test_what_is_not_delivered_stays_however_old(ledger: Ledger, spool: Spool) -> None:
    for state in (CaseState.QUEUED, CaseState.SENDING):
        _pair(ledger, spool, state)
        assert _sweep(ledger, spool, NOON + 999 * DAY) == NOTHING
    assert _files(spool) == 2


def test_a_series_of_no_case_leaves_only_after_pairing_has_ended_with_it(ledger: Ledger, spool: Spool) -> None:
    header = make_header(3)
    ledger.instances.record(spool_one(spool, header), header)
    assert _sweep(ledger, spool, NOON + 99 * DAY) == NOTHING  # pairing has not looked yet
    ledger.instances.settle(ledger.instances.series_of_patient(_key(ledger, 3)))
    assert _sweep(ledger, spool, NOON + 99 * DAY) == Removed(series=1, files=1, results=0)


def test_a_series_sent_again_after_its_removal_opens_no_second_case(ledger: Ledger, spool: Spool) -> None:
    _pair(ledger, spool, CaseState.DONE)
    _sweep(ledger, spool, NOON + 15 * DAY)
    _receive(ledger, spool, 1)
    row = ledger.instances.series(series_uid(1))
    assert row is not None and row.n_instances == 1
    again = ledger.cases.open(
        CASE,
        state=CaseState.QUEUED,
        patient_key=row.patient_key,
        baseline_series_uid=series_uid(1),
        delayed_series_uid=series_uid(2),
        now=NOON + 16 * DAY,
    )
    assert (again.state, again.revision) == (CaseState.DONE, 1)


def test_nothing_is_removed_when_everything_is_kept_for_good(ledger: Ledger, spool: Spool) -> None:
    _pair(ledger, spool, CaseState.DONE)
    assert ledger.retention(spool, received=None, results=None).sweep(NOON + 9999 * DAY) == NOTHING
