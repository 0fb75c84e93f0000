"""A case that is done, and a scan of the next day, in a ledger."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.cases import CaseOutcome, CaseState, case_id_for
from service.storage.ledger import Ledger
from tests.builders.received import NOON, make_header, make_stored, series_uid

PAIR = {"baseline_series_uid": series_uid(1), "delayed_series_uid": series_uid(2)}
LATER = series_uid(3)
CASE = case_id_for(*PAIR.values())
QUIET = timedelta(seconds=60)
NEXT_DAY = NOON + timedelta(days=1)
MUCH_LATER = NEXT_DAY + timedelta(hours=1)


def done_case(ledger: Ledger) -> str:
    """A case with its prediction; of the next day's scan one image has come."""
    ledger.cases.open(CASE, state=CaseState.QUEUED, patient_key="k", now=NOON, **PAIR)
    for state in (CaseState.RUNNING, CaseState.SENDING, CaseState.DONE):
        outcome = CaseOutcome.PREDICTED if state is CaseState.SENDING else None
        ledger.cases.transition(CASE, expected=tuple(CaseState), to=state, outcome=outcome, now=NOON)
    receive_later(ledger)
    return CASE


def receive_later(ledger: Ledger, number: int = 1, at: datetime = NEXT_DAY) -> None:
    """One image of the next day's scan."""
    header = make_header(3, number)
    ledger.instances.record(make_stored(header, "a", at), header)


def want(ledger: Ledger, *, instances: int = 1, series: str = LATER, hours: float = 24.0) -> None:
    """Note the scan for the case."""
    ledger.follow_ups.want(CASE, series, hours=hours, instances=instances, now=NEXT_DAY)
