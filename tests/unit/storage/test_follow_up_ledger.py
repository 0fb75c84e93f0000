"""Follow-ups in the ledger: noted once, due when both sides are whole, compared again when something changed."""

import pytest

from service.cases import CaseState
from service.errors import Reason
from service.storage.follow_up_ledger import FollowUpState
from service.storage.ledger import Ledger
from tests.builders.follow_ups import CASE, LATER, MUCH_LATER, NEXT_DAY, PAIR, QUIET, done_case, receive_later, want
from tests.builders.received import NOON, series_uid

FIGURES = {"regions": {}, "coverage": 0.9}


@pytest.fixture
def case(ledger: Ledger) -> str:
    return done_case(ledger)


def judge(ledger: Ledger, revision: int = 1) -> None:
    ledger.follow_ups.begin(CASE)
    ledger.follow_ups.judged(CASE, revision, hours=24.0, scanner="S", model="m 1", figures=FIGURES, now=MUCH_LATER)


def test_it_is_due_once_nothing_more_of_the_scan_comes(ledger: Ledger, case: str) -> None:
    want(ledger)
    assert ledger.follow_ups.due(NEXT_DAY + QUIET / 2, QUIET) is None
    due = ledger.follow_ups.due(MUCH_LATER, QUIET)
    assert due is not None
    assert (due.case_id, due.series_uid, due.hours, due.state) == (case, LATER, 24.0, FollowUpState.WANTED)


def test_what_was_judged_is_not_due_again(ledger: Ledger, case: str) -> None:
    want(ledger)
    judge(ledger)
    want(ledger)
    assert ledger.follow_ups.due(MUCH_LATER, QUIET) is None
    found = ledger.follow_ups.of(case)
    assert found is not None
    assert (found.figures, found.scanner, found.state, found.attempts) == (FIGURES, "S", FollowUpState.JUDGED, 0)
    assert ledger.follow_ups.all() == (found,)


def test_more_images_or_another_scan_are_compared_anew(ledger: Ledger, case: str) -> None:
    want(ledger)
    for number, change in enumerate(({"instances": 2}, {"series": series_uid(4)}, {"hours": 34.0}), start=1):
        judge(ledger)
        want(ledger, **change)
        found = ledger.follow_ups.of(case)
        assert found is not None
        assert (found.state, found.attempts, found.figures) == (FollowUpState.WANTED, 0, {}), number


def test_a_case_that_was_converted_anew_is_compared_anew(ledger: Ledger, case: str) -> None:
    want(ledger)
    judge(ledger, revision=7)
    due = ledger.follow_ups.due(MUCH_LATER, QUIET)
    assert due is not None
    assert ledger.follow_ups.begin(case) == 1  # the attempts of before came to an end
    judge(ledger)
    assert ledger.follow_ups.due(MUCH_LATER, QUIET) is None


def test_a_refusal_and_a_failure_say_why_and_are_not_tried_again(ledger: Ledger, case: str) -> None:
    why = Reason(code="FAT_NOT_FOUND", message="none", measured=1.0, limit="2")
    want(ledger)
    ledger.follow_ups.refused(case, 1, (why,), MUCH_LATER)
    refused = ledger.follow_ups.of(case)
    assert refused is not None
    assert (refused.state, refused.reasons) == (FollowUpState.REFUSED, (why,))
    assert ledger.follow_ups.due(MUCH_LATER, QUIET) is None
    ledger.follow_ups.failed(case, 1, why, MUCH_LATER)
    assert ledger.follow_ups.due(MUCH_LATER, QUIET) is None


def test_a_later_answer_takes_the_place_of_the_earlier_one_whole(ledger: Ledger, case: str) -> None:
    why = Reason(code="FAT_NOT_FOUND", message="none")
    want(ledger)
    ledger.follow_ups.refused(case, 1, (why,), MUCH_LATER)
    judge(ledger)
    judged = ledger.follow_ups.of(case)
    assert judged is not None
    assert (judged.figures, judged.reasons) == (FIGURES, ())
    ledger.follow_ups.refused(case, 1, (why,), MUCH_LATER)
    refused = ledger.follow_ups.of(case)
    assert refused is not None
    assert (refused.figures, refused.reasons) == ({}, (why,))


def test_a_case_without_a_prediction_is_not_compared(ledger: Ledger) -> None:
    ledger.cases.open(CASE, state=CaseState.QUEUED, patient_key="k", now=NOON, **PAIR)
    receive_later(ledger)
    want(ledger)
    assert ledger.follow_ups.due(MUCH_LATER, QUIET) is None
