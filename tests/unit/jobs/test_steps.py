from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from service.cases import CaseOutcome, CaseState, case_id_for
from service.errors import PeerUnavailable, PermanentError, Reason
from service.jobs.memory_queue import MemoryQueue
from service.jobs.port import CaseSuperseded
from service.jobs.recovery import Sweeper, resubmit_unfinished
from service.jobs.results import INDEX_NAME, ConvertedPair, ResultObject, read_index
from service.jobs.retry import RetryPolicy
from service.jobs.steps import MAX_INTERRUPTIONS, LedgerCaseSteps, SendResult
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.storage.used_series import UsedSeries
from tests.builders.received import NOON, make_header, series_uid, spool_one

CASE = case_id_for(series_uid(1), series_uid(2))
REFUSAL = Reason(code="FAT_NOT_FOUND", message="no orbital fat", measured=3.0, limit=50.0)


class Hospital:
    """Spool, ledger, a conversion and a PACS whose behaviour a test sets."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root / "spool", min_free_bytes=0)
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self.outcome, self.reasons = CaseOutcome.PREDICTED, ()
        self.n_conversions = 0
        self.archive: dict[str, list[str]] = {"PACS": [], "STATION": []}
        self.full: set[str] = set()
        self.lost: set[str] = set()
        self.destinations = ["PACS", "STATION"]
        for series in (1, 2):
            header = make_header(series)
            self.ledger.instances.record(spool_one(self.spool, header), header)
        self.case = self.ledger.cases.open(
            CASE,
            state=CaseState.QUEUED,
            patient_key="k",
            baseline_series_uid=series_uid(1),
            delayed_series_uid=series_uid(2),
            now=NOON,
        )

    @property
    def steps(self) -> LedgerCaseSteps:
        return LedgerCaseSteps(
            self.ledger,
            self.spool,
            convert_pair=self.convert_pair,
            send=self.send,
            confirm=self.confirm,
            destinations=self.destinations,
            now=lambda: NOON,
        )

    def convert_pair(self, case, baseline, delayed, directory: Path) -> ConvertedPair:
        self.n_conversions += 1
        path = directory / "0.dcm"
        path.write_bytes(b"result")
        objects = tuple(
            ResultObject(sop_class_uid="1.2", sop_instance_uid=f"9.{case.revision}.{n}", path=path) for n in range(2)
        )
        return ConvertedPair(outcome=self.outcome, reasons=self.reasons, objects=objects)

    def send(self, destination: str, objects: Sequence[ResultObject]) -> list[SendResult]:
        results = []
        for item in objects:
            accepted = item.sop_instance_uid not in self.full
            if accepted:
                assert item.path.read_bytes() == b"result"
                self.archive[destination].append(item.sop_instance_uid)
            status = "0x0000" if accepted else "0xA700"
            results.append(SendResult(sop_instance_uid=item.sop_instance_uid, accepted=accepted, status=status))
        return results

    def confirm(self, destination: str, objects: Sequence[ResultObject]) -> dict[str, bool]:
        return {item.sop_instance_uid: item.sop_instance_uid not in self.lost for item in objects}

    def run(self) -> CaseState:
        queue = MemoryQueue(self.steps, policy=RetryPolicy(first_pause_s=0.001, give_up_after_s=0.003))
        resubmit_unfinished(self.ledger.cases, queue)
        queue.drain()
        return self.ledger.cases.case(CASE).state

    def kinds(self) -> list[str]:
        return [event.kind for event in self.ledger.cases.events(CASE)]


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    hospital = Hospital(tmp_path)
    yield hospital
    hospital.ledger.close()
    hospital.spool.close()


def test_a_queued_case_ends_done_with_every_delivery_confirmed(hospital: Hospital) -> None:
    assert hospital.run() is CaseState.DONE
    case = hospital.ledger.cases.case(CASE)
    assert (case.outcome, case.delivered, case.deliverable, case.attempts) == (CaseOutcome.PREDICTED, 4, 4, 1)
    assert hospital.kinds() == ["queued", "running", "sending", "done"]
    assert hospital.archive == {"PACS": ["9.1.0", "9.1.1"], "STATION": ["9.1.0", "9.1.1"]}


def test_a_refusal_is_delivered_like_a_result_and_keeps_its_reasons(hospital: Hospital) -> None:
    hospital.outcome, hospital.reasons = CaseOutcome.REFUSED, (REFUSAL,)
    assert hospital.run() is CaseState.DONE
    case = hospital.ledger.cases.case(CASE)
    assert (case.outcome, case.reasons, case.delivered) == (CaseOutcome.REFUSED, (REFUSAL,), 4)


def test_only_what_was_not_accepted_is_sent_again(hospital: Hospital) -> None:
    steps = hospital.steps
    hospital.full = {"9.1.1"}
    steps.convert(CASE, 1)
    with pytest.raises(PeerUnavailable, match="1 of 2 instances; statuses: 0xA700"):
        steps.deliver(CASE, 1, "PACS")
    hospital.full = set()
    steps.deliver(CASE, 1, "PACS")
    steps.deliver(CASE, 1, "PACS")
    assert hospital.archive["PACS"] == ["9.1.0", "9.1.1"]


def test_what_the_destination_lost_is_sent_again(hospital: Hospital) -> None:
    steps = hospital.steps
    steps.convert(CASE, 1)
    steps.deliver(CASE, 1, "PACS")
    hospital.lost = {"9.1.1"}
    assert not steps.confirm(CASE, 1, "PACS")
    hospital.lost = set()
    steps.deliver(CASE, 1, "PACS")
    assert steps.confirm(CASE, 1, "PACS")
    assert hospital.archive["PACS"] == ["9.1.0", "9.1.1", "9.1.1"]


def test_a_case_is_not_closed_over_an_unconfirmed_delivery(hospital: Hospital) -> None:
    hospital.steps.convert(CASE, 1)
    with pytest.raises(PermanentError, match="4 of 4 deliveries are not confirmed"):
        hospital.steps.close(CASE, 1)
    assert hospital.ledger.cases.case(CASE).state is CaseState.SENDING


def test_the_case_is_red_while_the_pacs_is_away_and_then_as_it_was(hospital: Hospital) -> None:
    hospital.outcome, hospital.reasons = CaseOutcome.REFUSED, (REFUSAL,)
    steps = hospital.steps
    steps.convert(CASE, 1)
    steps.retrying(CASE, 1, Reason(code="PEER_UNAVAILABLE", message="no association"))
    red = hospital.ledger.cases.case(CASE)
    assert (red.state, red.reasons[0].code) == (CaseState.FAILED, "PEER_UNAVAILABLE")
    assert hospital.ledger.cases.unfinished() == (red,)

    steps.deliver(CASE, 1, "PACS")
    back = hospital.ledger.cases.case(CASE)
    assert (back.state, back.reasons) == (CaseState.SENDING, (REFUSAL,))


def test_after_giving_up_a_person_can_retry_and_the_old_job_is_over(hospital: Hospital) -> None:
    hospital.full = {"9.1.0"}
    assert hospital.run() is CaseState.FAILED
    assert hospital.ledger.cases.unfinished() == ()
    hospital.full = set()
    hospital.ledger.cases.requeue(CASE, now=NOON)
    with pytest.raises(CaseSuperseded):
        hospital.steps.deliver(CASE, 1, "PACS")
    assert hospital.run() is CaseState.DONE
    assert hospital.ledger.cases.case(CASE).revision == 2


def test_a_discarded_case_is_left_alone(hospital: Hospital) -> None:
    steps = hospital.steps
    steps.convert(CASE, 1)
    hospital.ledger.cases.discard(CASE, now=NOON)
    for step in (lambda: steps.convert(CASE, 1), lambda: steps.deliver(CASE, 1, "PACS"), lambda: steps.close(CASE, 1)):
        with pytest.raises(CaseSuperseded):
            step()
    assert hospital.archive["PACS"] == []


def test_a_published_result_is_found_again_and_not_made_twice(hospital: Hospital) -> None:
    steps = hospital.steps
    steps.convert(CASE, 1)
    steps.convert(CASE, 1)
    assert hospital.n_conversions == 1
    index = read_index(hospital.spool.result_path(CASE, 1))
    assert [item.path.exists() for item in index.objects] == [True, True]


def test_which_images_a_result_was_made_from_is_on_record_and_stays_so(hospital: Hospital) -> None:
    uids = (series_uid(1), series_uid(2))
    read = {uid: UsedSeries.of(uid, hospital.ledger.instances.sop_instance_uids_of(uid)) for uid in uids}
    hospital.steps.convert(CASE, 1)
    assert hospital.ledger.used.of(CASE, 1) == read
    assert [used.instances for used in read.values()] == [1, 1]
    late = make_header(2, 2)
    hospital.ledger.instances.record(spool_one(hospital.spool, late), late)
    hospital.steps.convert(CASE, 1)  # as after a restart: the result is there
    assert hospital.ledger.used.of(CASE, 1) == read
    assert hospital.ledger.used.of(CASE, 2) == {}


def test_which_images_were_used_is_found_again_with_the_result_when_the_ledger_is_lost(hospital: Hospital) -> None:
    hospital.steps.convert(CASE, 1)
    read = hospital.ledger.used.of(CASE, 1)
    index = read_index(hospital.spool.result_path(CASE, 1))
    assert {used.series_uid: used for used in index.used} == read


def test_the_index_of_an_earlier_version_is_read_without_what_was_used(hospital: Hospital) -> None:
    hospital.steps.convert(CASE, 1)
    path = hospital.spool.result_path(CASE, 1) / INDEX_NAME
    index = json.loads(path.read_text())
    del index["used"]
    path.chmod(0o600)
    path.write_text(json.dumps(index))
    assert read_index(path.parent).used == ()


def test_a_conversion_that_keeps_ending_its_worker_is_given_to_a_person(hospital: Hospital) -> None:
    hospital.ledger.cases.transition(CASE, expected=[CaseState.QUEUED], to=CaseState.RUNNING, now=NOON)
    for _ in range(MAX_INTERRUPTIONS):
        hospital.ledger.cases.interrupted(CASE, now=NOON)
    assert hospital.run() is CaseState.FAILED
    assert hospital.n_conversions == 0
    assert "ended its worker" in hospital.ledger.cases.case(CASE).reasons[0].message


def test_a_series_that_is_gone_fails_the_case_and_says_what_to_do(hospital: Hospital) -> None:
    paths = [item.relative_path for item in hospital.ledger.instances.instances_of(series_uid(2))]
    hospital.ledger.instances.forget(paths)
    assert hospital.run() is CaseState.FAILED
    assert "send it again" in hospital.ledger.cases.case(CASE).reasons[0].message


def test_without_destinations_a_case_is_done_once_converted(hospital: Hospital) -> None:
    hospital.destinations = []
    assert hospital.run() is CaseState.DONE
    assert hospital.ledger.cases.events(CASE)[-1].text == "converted; no destination is configured"


def test_the_sweeper_takes_over_once_from_the_dead(hospital: Hospital) -> None:
    taken: list[str] = []

    class Recording(MemoryQueue):
        def resume_orphans(self, dead_executors) -> int:
            taken.extend(dead_executors)
            return len(dead_executors)

    queue = Recording(hospital.steps, policy=RetryPolicy())
    hospital.ledger.workers.beat("dead", NOON)
    sweeper = Sweeper(hospital.ledger.workers, queue, executor_id="alive", silent_for=timedelta(seconds=10))
    assert sweeper.tick(NOON + timedelta(seconds=5)) == 0
    assert sweeper.tick(NOON + timedelta(seconds=11)) == 1
    assert sweeper.tick(NOON + timedelta(seconds=12)) == 0
    assert taken == ["dead"]
    hospital.ledger.workers.beat("late", NOON)
    back = NOON + timedelta(minutes=5)
    assert sweeper.tick(back) == 0  # what kept this one from looking may have kept the other from beating
    assert sweeper.tick(back + timedelta(seconds=4)) == 0
    assert sweeper.tick(back + timedelta(seconds=6)) == 1
    over = {worker.executor_id: worker.taken_over_at for worker in hospital.ledger.workers.all()}
    assert over == {"dead": NOON + timedelta(seconds=11), "late": back + timedelta(seconds=6)}
