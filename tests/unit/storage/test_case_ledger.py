from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.cases import CaseOutcome, CaseState, case_id_for
from service.errors import PermanentError, Reason
from service.storage.case_rows import TRANSITIONS, IllegalTransition, UnknownCase
from service.storage.identifiers import held_case_id
from service.storage.ledger import Ledger
from service.storage.work_ledger import DeliveryState
from tests.builders.received import NOON

S = CaseState
PAIR = {"baseline_series_uid": "1.1", "delayed_series_uid": "1.2"}
CASE = case_id_for("1.1", "1.2")
WHY = Reason(code="NO_INJECTION_TIME", message="supply it", measured=None, limit="0.5-3 h")


def _open(ledger: Ledger, state: CaseState = S.QUEUED, **facts: object):
    return ledger.cases.open(CASE, state=state, patient_key="k", now=NOON, **{**PAIR, **facts})


def _walk(ledger: Ledger, *states: CaseState, **last: object) -> None:
    for state in states:
        facts = last if state is states[-1] else {}
        ledger.cases.transition(CASE, expected=tuple(S), to=state, now=NOON, **facts)


def test_case_ids_are_stable_and_say_nothing() -> None:
    assert case_id_for("1.1", "1.2") == CASE
    assert case_id_for("1.2", "1.1") != CASE
    assert len(CASE) == 13
    assert held_case_id("k", ["a", "b"]) == held_case_id("k", ["b", "a"])


def test_opening_the_same_pair_again_changes_nothing(ledger: Ledger) -> None:
    first = _open(ledger, injection_time=datetime(2026, 3, 4, 8, 0), hours_after_injection=1.5)
    ledger.cases.transition(CASE, expected=[S.QUEUED], to=S.RUNNING, now=NOON)
    again = _open(ledger, hours_after_injection=9.0)

    assert again.state is S.RUNNING
    assert again.hours_after_injection == 1.5
    assert first.injection_time == datetime(2026, 3, 4, 8, 0)
    assert [event.kind for event in ledger.cases.events(CASE)] == ["queued", "running"]


def test_a_held_case_is_queued_when_pairing_no_longer_doubts(ledger: Ledger) -> None:
    held = _open(ledger, S.HELD, reasons=[WHY])
    assert held.reasons == (WHY,)
    assert _open(ledger, S.HELD, reasons=[WHY]) == held
    assert _open(ledger).state is S.QUEUED
    assert [event.kind for event in ledger.cases.events(CASE)] == ["held", "queued"]


def test_a_case_moves_only_from_where_it_is_expected(ledger: Ledger) -> None:
    _open(ledger)
    with pytest.raises(IllegalTransition, match="queued and cannot become sending"):
        ledger.cases.transition(CASE, expected=[S.RUNNING], to=S.SENDING, now=NOON)
    with pytest.raises(IllegalTransition):
        ledger.cases.transition(CASE, expected=[S.QUEUED], to=S.RUNNING, revision=2, now=NOON)
    assert ledger.cases.case(CASE).state is S.QUEUED
    assert len(ledger.cases.events(CASE)) == 1


def test_an_unknown_case_is_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownCase, match="c000"):
        ledger.cases.case("c000")


def test_a_retry_is_a_new_revision(ledger: Ledger) -> None:
    _open(ledger)
    ledger.cases.fail(CASE, 1, [WHY], retrying=False, now=NOON)
    case = ledger.cases.requeue(CASE, now=NOON)
    assert (case.state, case.revision, case.reasons, case.outcome) == (S.QUEUED, 2, (), None)


def test_what_is_done_may_be_converted_anew_and_knows_what_it_replaces(ledger: Ledger) -> None:
    _open(ledger)
    _walk(ledger, S.RUNNING, S.SENDING, S.DONE, outcome=CaseOutcome.PREDICTED)
    assert ledger.cases.case(CASE).replaces == 0
    with pytest.raises(IllegalTransition):
        ledger.cases.discard(CASE, now=NOON)
    again = ledger.cases.requeue(CASE, now=NOON)
    assert (again.state, again.revision, again.outcome, again.replaces) == (S.QUEUED, 2, None, 1)
    _walk(ledger, S.RUNNING, S.SENDING, S.DONE, outcome=CaseOutcome.REFUSED)
    assert ledger.cases.case(CASE).replaces == 1


@pytest.mark.parametrize("state", [DeliveryState.SENT, DeliveryState.CONFIRMED])
def test_what_one_pacs_holds_while_another_is_down_is_replaced(ledger: Ledger, state: DeliveryState) -> None:
    _open(ledger)
    ledger.deliveries.plan(CASE, 1, ["A", "B"], ["9.1", "9.2"], NOON)
    _walk(ledger, S.RUNNING, S.SENDING, outcome=CaseOutcome.PREDICTED)
    ledger.deliveries.mark(CASE, 1, "A", ["9.1"], state, now=NOON)
    ledger.cases.fail(CASE, 1, [WHY], retrying=True, now=NOON)
    assert ledger.cases.case(CASE).replaces == 0
    again = ledger.cases.correct(CASE, injection_time=NOON, hours_after_injection=1.2, now=NOON, text="corrected")
    assert (again.revision, again.replaces) == (2, 1)
    ledger.deliveries.plan(CASE, 2, ["A", "B"], ["9.3"], NOON)
    _walk(ledger, S.RUNNING, S.SENDING, S.DONE, outcome=CaseOutcome.PREDICTED)
    ledger.deliveries.mark(CASE, 2, "B", ["9.3"], state, now=NOON)
    assert ledger.cases.case(CASE).replaces == 1
    assert ledger.cases.requeue(CASE, now=NOON).replaces == 2


def test_what_every_pacs_refused_or_lost_is_not_replaced(ledger: Ledger) -> None:
    _open(ledger)
    ledger.deliveries.plan(CASE, 1, ["A", "B"], ["9.1"], NOON)
    _walk(ledger, S.RUNNING, S.SENDING, outcome=CaseOutcome.PREDICTED)
    ledger.deliveries.mark(CASE, 1, "A", ["9.1"], DeliveryState.FAILED, now=NOON)
    ledger.cases.fail(CASE, 1, [WHY], retrying=False, now=NOON)
    assert ledger.cases.requeue(CASE, now=NOON).replaces == 0


def test_a_retry_of_what_was_never_delivered_replaces_nothing(ledger: Ledger) -> None:
    _open(ledger)
    ledger.cases.fail(CASE, 1, [WHY], retrying=False, now=NOON)
    assert ledger.cases.requeue(CASE, now=NOON).replaces == 0


def test_the_time_of_what_is_done_can_be_corrected_and_of_what_is_in_work_not(ledger: Ledger) -> None:
    _open(ledger, injection_time=datetime(2026, 3, 4, 8, 0), hours_after_injection=1.9)
    told = {"injection_time": datetime(2026, 3, 4, 8, 30), "hours_after_injection": 1.4, "now": NOON, "text": "x"}
    with pytest.raises(IllegalTransition):
        ledger.cases.correct(CASE, **told)
    _walk(ledger, S.RUNNING, S.SENDING, S.DONE, outcome=CaseOutcome.REFUSED)
    case = ledger.cases.correct(CASE, **told)
    assert (case.state, case.revision, case.hours_after_injection) == (S.QUEUED, 2, 1.4)
    assert case.injection_time == datetime(2026, 3, 4, 8, 30)


def test_a_peer_that_is_down_for_days_leaves_one_line(ledger: Ledger) -> None:
    _open(ledger)
    _walk(ledger, S.RUNNING, S.SENDING)
    for hour in range(50):
        ledger.cases.fail(CASE, 1, [WHY], retrying=True, now=NOON + timedelta(hours=hour))
    assert [event.kind for event in ledger.cases.events(CASE)] == ["queued", "running", "sending", "failed"]
    assert ledger.cases.unfinished() == (ledger.cases.case(CASE),)

    ledger.cases.fail(CASE, 1, [WHY], retrying=False, now=NOON)
    assert ledger.cases.unfinished() == ()


def test_releasing_an_undecided_case_opens_the_chosen_pair(ledger: Ledger) -> None:
    held_id = held_case_id("k", ["1.1", "1.2", "1.3"])
    ledger.cases.open(
        held_id, state=S.HELD, patient_key="k", other_series_uids=["1.1", "1.2", "1.3"], reasons=[WHY], now=NOON
    )
    with pytest.raises(PermanentError, match="needs a baseline"):
        ledger.cases.release(held_id, baseline_series_uid="1.1", now=NOON)

    case = ledger.cases.release(
        held_id, baseline_series_uid="1.1", delayed_series_uid="1.2", injection_time=NOON, now=NOON
    )

    assert (case.case_id, case.state, case.injection_time) == (CASE, S.QUEUED, NOON)
    assert ledger.cases.case(held_id).state is S.DISCARDED
    assert ledger.cases.consumers(["1.1", "1.2", "1.3"]) == {"1.1": (CASE,), "1.2": (CASE,)}
    with pytest.raises(IllegalTransition):
        ledger.cases.release(held_id, baseline_series_uid="1.1", delayed_series_uid="1.2", now=NOON)


def test_deliveries_are_planned_once_and_counted_on_the_case(ledger: Ledger) -> None:
    _open(ledger)
    deliveries = ledger.deliveries
    for _ in range(2):
        deliveries.plan(CASE, 1, ["PACS", "WORKSTATION"], ["9.1", "9.2"], NOON)
    deliveries.mark(CASE, 1, "PACS", ["9.1", "9.2"], DeliveryState.SENT, status="0x0000", now=NOON)
    deliveries.mark(CASE, 1, "PACS", ["9.1"], DeliveryState.CONFIRMED, now=NOON)
    deliveries.mark(CASE, 1, "PACS", ["9.1"], DeliveryState.FAILED, now=NOON)  # too late: it is confirmed

    assert [d.state for d in deliveries.of(CASE, 1, "PACS")] == [DeliveryState.CONFIRMED, DeliveryState.SENT]
    assert (ledger.cases.case(CASE).delivered, ledger.cases.case(CASE).deliverable) == (1, 4)
    assert deliveries.counts()[DeliveryState.PENDING] == 2


def test_a_dead_worker_is_claimed_by_one_and_again_if_that_one_dies(ledger: Ledger) -> None:
    workers, silent = ledger.workers, timedelta(seconds=60)
    workers.beat("a", NOON)
    later = NOON + timedelta(seconds=61)
    workers.beat("b", later)
    workers.beat("c", later)

    assert workers.claim_dead("b", silent_for=silent, now=later) == ("a",)
    assert workers.claim_dead("c", silent_for=silent, now=later) == ()
    assert workers.claim_dead("b", silent_for=silent, now=later) == ("a",)

    much_later = later + timedelta(seconds=61)
    workers.beat("c", much_later)
    assert workers.claim_dead("c", silent_for=silent, now=much_later) == ("a", "b")
    workers.taken_over("a", by="b", now=much_later)  # lost its claim
    assert {worker.executor_id: worker.taken_over_at for worker in workers.all()}["a"] is None
    workers.taken_over("a", by="c", now=much_later)
    assert {worker.executor_id: worker.taken_over_at for worker in workers.all()}["a"] == much_later
    assert "a" not in workers.claim_dead("b", silent_for=silent, now=much_later + 10 * silent)
    workers.claim_dead("b", silent_for=silent, now=much_later + timedelta(days=2))
    assert "a" not in [worker.executor_id for worker in workers.all()]


def test_a_worker_that_beats_again_is_not_dead(ledger: Ledger) -> None:
    ledger.workers.beat("a", NOON)
    later = NOON + timedelta(seconds=61)
    assert ledger.workers.claim_dead("b", silent_for=timedelta(seconds=60), now=later) == ("a",)
    ledger.workers.beat("a", later)
    ledger.workers.taken_over("a", by="b", now=later)
    assert [worker.taken_over_at for worker in ledger.workers.all()] == [None]


def test_the_work_of_one_that_left_is_for_others_at_once_and_it_is_forgotten(ledger: Ledger) -> None:
    ledger.workers.beat("a", NOON, host="h", roles=("work",))
    ledger.workers.leave("a")
    assert ledger.workers.all() == ()
    assert ledger.workers.claim_dead("b", silent_for=timedelta(seconds=60), now=NOON) == ("a",)
    ledger.workers.taken_over("a", by="b", now=NOON)
    ledger.workers.beat("a", NOON, host="h", roles=("work",))
    (worker,) = ledger.workers.all()
    assert (worker.host, worker.roles, worker.taken_over_at) == ("h", ("work",), None)


def test_a_lease_is_one_holder_s_until_it_lapses_or_is_given_up(ledger: Ledger) -> None:
    lasting = timedelta(seconds=30)

    def take(holder: str, seconds: float) -> bool:
        return ledger.leases.take("leader", holder, lasting=lasting, now=NOON + timedelta(seconds=seconds))

    assert [take("a", 0), take("b", 1), take("a", 20), take("b", 49), take("b", 50), take("a", 51)] == [
        True, False, True, False, True, False,
    ]  # fmt: skip
    ledger.leases.give_up("a")
    assert not take("a", 52)
    ledger.leases.give_up("b")
    assert take("a", 53)


def test_a_commitment_report_waits_for_who_asked(ledger: Ledger) -> None:
    box = ledger.commitments
    assert not box.put("1.2", "{}")
    box.expect("1.2", NOON)
    assert box.report("1.2") is None
    assert box.put("1.2", "first") and box.put("1.2", "second")
    assert box.report("1.2") == "first"
    box.forget("1.2")
    assert box.report("1.2") is None
    box.expect("1.3", NOON)
    box.expect("1.4", NOON + timedelta(days=8))
    assert not box.put("1.3", "{}")


def test_settings_outlive_the_process(ledger: Ledger) -> None:
    assert ledger.setting("phantom") is None
    ledger.set_setting("phantom", "1", NOON)
    ledger.set_setting("phantom", "2", NOON)
    assert ledger.setting("phantom") == "2"


class CaseMoves(RuleBasedStateMachine):
    """Any sequence of attempts keeps the case on the arrows, and every move has its event."""

    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(f"sqlite:///{Path(self.directory.name)}/l.sqlite")
        self.model = _open(self.ledger, S.HELD).state
        self.moves = 1

    @rule(to=st.sampled_from(S), expected=st.sets(st.sampled_from(S), min_size=1))
    def attempt(self, to: CaseState, expected: set[CaseState]) -> None:
        legal = self.model in expected and to in TRANSITIONS[self.model] and self.model is not S.DONE
        try:
            self.ledger.cases.transition(CASE, expected=expected, to=to, now=NOON)
        except IllegalTransition:
            assert not legal
        else:
            assert legal
            self.model, self.moves = to, self.moves + 1

    @rule(to=st.sampled_from(S))
    def move_on(self, to: CaseState) -> None:
        self.attempt(to, set(S))

    @invariant()
    def the_ledger_agrees(self) -> None:
        assert self.ledger.cases.case(CASE).state is self.model
        assert len(self.ledger.cases.events(CASE)) == self.moves

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.directory.cleanup()


CaseMoves.TestCase.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_sequence_of_moves_stays_on_the_arrows = CaseMoves.TestCase
