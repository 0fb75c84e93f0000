"""A changed table of injection times has pairing look again at all that no case was made from, and at nothing else."""

from service.cases import CaseState, case_id_for
from service.storage.ledger import Ledger
from tests.builders.received import NOON, make_header, make_stored, series_uid


def test_series_of_held_cases_and_of_none_are_looked_at_again_and_those_of_others_are_not(ledger: Ledger) -> None:
    for series in range(1, 7):
        header = make_header(series, 1)
        ledger.instances.record(make_stored(header, "a", NOON), header)
    uids = [series_uid(n) for n in range(1, 7)]
    for state, (baseline, delayed) in ((CaseState.QUEUED, uids[:2]), (CaseState.HELD, uids[2:4])):
        pair = {"baseline_series_uid": baseline, "delayed_series_uid": delayed}
        ledger.cases.open(case_id_for(baseline, delayed), state=state, patient_key="k", now=NOON, **pair)
    rows = [row for uid in uids if (row := ledger.instances.series(uid))]
    ledger.instances.settle(rows)
    ledger.instances.unsettle_unpaired()
    looked_at = {uid for uid in uids if (row := ledger.instances.series(uid)) and row.unsettled}
    assert looked_at == set(uids[2:])
