"""Storage commitment and queries with peers that report early, late, never, wrongly, or do not offer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from pynetdicom import evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from service.errors import PeerUnavailable
from service.network.commitment import CommitmentReport, Commitments
from service.network.confirmation import confirm
from service.network.query import count_instances
from service.network.storage_scu import OutgoingInstance
from tests.builders import dcmtk
from tests.builders.network import QUICK, associate, outgoing, peer, scripted_peer
from tests.builders.programs import needs, wait_until

COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
Answer = Callable[[evt.Event], tuple[int, None]]


@pytest.fixture
def items(series) -> list[OutgoingInstance]:
    return outgoing(series)


def _report(transaction_uid: str, kept: Sequence[OutgoingInstance], lost: Sequence[OutgoingInstance] = ()) -> Dataset:
    report = Dataset()
    report.TransactionUID = transaction_uid
    if kept:
        report.ReferencedSOPSequence = [_reference(item) for item in kept]
    if lost:
        report.FailedSOPSequence = [_reference(item) for item in lost]
        for failed in report.FailedSOPSequence:
            failed.FailureReason = 0x0112
    return report


def _reference(item: OutgoingInstance) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = item.sop_class_uid, item.sop_instance_uid
    return reference


def _send_report(port: int, report: Dataset, event_type: int = 1, *, as_scp: bool = True) -> int:
    """As an archive does, on an association of its own; the status of our listener's answer."""
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = COMMITMENT, False, True
    assoc = associate(port, COMMITMENT, calling="PACS", ext_neg=[role] if as_scp else [])
    assert assoc.accepted_contexts[0].as_scp == as_scp
    status, _ = assoc.send_n_event_report(report, event_type, COMMITMENT, COMMITMENT_INSTANCE)
    assoc.release()
    return int(status.Status)


def _accept(_: evt.Event) -> tuple[int, None]:
    return 0x0000, None


@pytest.mark.parametrize("as_scp", [True, False], ids=["with role selection", "without"])
def test_a_report_on_an_association_of_its_own_ends_the_wait(listen, items, as_scp):
    commitments = Commitments()
    port = listen(on_commitment=commitments.record).port
    statuses: list[int] = []

    def report_soon(event: evt.Event) -> tuple[int, None]:
        report = _report(event.action_information.TransactionUID, items[:3], items[3:])
        Thread(target=lambda: statuses.append(_send_report(port, report, 2, as_scp=as_scp))).start()
        return 0x0000, None

    with scripted_peer([(evt.EVT_N_ACTION, report_soon)], COMMITMENT) as pacs:
        answers = commitments.request(pacs, QUICK, items, transaction_uid=generate_uid(), wait_s=10)
    assert answers is not None
    assert [answers[item.sop_instance_uid] for item in items] == [True, True, True, False]
    wait_until(lambda: statuses == [0x0000])


def test_a_report_on_the_association_of_the_request_ends_the_wait(items):
    commitments = Commitments()
    statuses: list[int] = []

    def report_here(event: evt.Event) -> tuple[int, None]:
        report = _report(event.action_information.TransactionUID, items)

        def send() -> None:
            status, _ = event.assoc.send_n_event_report(report, 1, COMMITMENT, COMMITMENT_INSTANCE)
            statuses.append(int(status.Status))

        Thread(target=send).start()
        return 0x0000, None

    with scripted_peer([(evt.EVT_N_ACTION, report_here)], COMMITMENT) as pacs:
        for _ in range(5):  # a release that crosses the report must not hang
            answers = commitments.request(pacs, QUICK, items, transaction_uid=generate_uid(), wait_s=10)
            assert answers == {item.sop_instance_uid: True for item in items}
    assert statuses == [0x0000] * 5


def test_what_was_asked_for_is_named_in_the_request(items):
    asked: list[Dataset] = []
    actions: list[int] = []

    def note(event: evt.Event) -> tuple[int, None]:
        asked.append(event.action_information)
        actions.append(event.action_type)
        return 0x0110, None

    with scripted_peer([(evt.EVT_N_ACTION, note)], COMMITMENT) as pacs:
        uid = generate_uid()
        assert Commitments().request(pacs, QUICK, items, transaction_uid=uid, wait_s=5) is None
    assert (actions, asked[0].TransactionUID) == ([1], uid)
    assert list(asked[0].ReferencedSOPSequence) == [_reference(item) for item in items]


def test_a_late_report_is_kept_for_the_next_time(listen, items):
    commitments = Commitments()
    port = listen(on_commitment=commitments.record).port
    uid = generate_uid()
    with scripted_peer([(evt.EVT_N_ACTION, _accept)], COMMITMENT) as pacs:
        assert commitments.request(pacs, QUICK, items, transaction_uid=uid, wait_s=0.1) is None
        assert commitments.reported_late(pacs, [items[0].sop_instance_uid]) == frozenset()
        assert _send_report(port, _report(uid, items[:3], items[3:]), 2) == 0x0000
        uids = {items[0].sop_instance_uid, items[3].sop_instance_uid}
        assert commitments.reported_late(peer(1, name="another"), uids) == frozenset()
        assert commitments.reported_late(pacs, uids) == {items[0].sop_instance_uid}
        assert commitments.reported_late(pacs, uids) == frozenset()  # told once: the archive may lose it later


def test_confirming_uses_a_late_report_and_asks_only_for_the_rest(listen, items):
    commitments = Commitments()
    port = listen(on_commitment=commitments.record).port
    asked: list[Dataset] = []

    def note(event: evt.Event) -> tuple[int, None]:
        asked.append(event.action_information)
        return 0x0000, None

    with scripted_peer([(evt.EVT_N_ACTION, note)], COMMITMENT) as pacs:
        options = {"commitment": "required", "wait_s": 0.1, "commitments": commitments}
        assert confirm(pacs, QUICK, items, **options) == {}
        _send_report(port, _report(asked[0].TransactionUID, items[:3]))
        assert confirm(pacs, QUICK, items, **options) == {item.sop_instance_uid: True for item in items[:3]}
    assert list(asked[1].ReferencedSOPSequence) == [_reference(items[3])]
    assert asked[0].TransactionUID != asked[1].TransactionUID


def test_a_transaction_that_is_still_open_is_not_requested_again(listen, items):
    commitments = Commitments()
    port = listen(on_commitment=commitments.record).port
    requests: list[str] = []

    def note(event: evt.Event) -> tuple[int, None]:
        requests.append(event.action_information.TransactionUID)
        return 0x0000, None

    uid = generate_uid()
    with scripted_peer([(evt.EVT_N_ACTION, note)], COMMITMENT) as pacs:
        assert commitments.request(pacs, QUICK, items, transaction_uid=uid, wait_s=0.1) is None
        _send_report(port, _report(uid, items))
        answers = commitments.request(pacs, QUICK, items, transaction_uid=uid, wait_s=0.1)
    assert answers == {item.sop_instance_uid: True for item in items}
    assert requests == [uid]


def test_reports_that_make_no_sense_are_answered_as_such(listen, items):
    port = listen(on_commitment=Commitments().record).port
    assert _send_report(port, _report(generate_uid(), items)) == 0x0115  # a transaction we know nothing of
    assert _send_report(port, Dataset(_report(generate_uid(), items)), 7) == 0x0113  # no such event type
    assert _send_report(port, _report("", items)) == 0x0115


def test_instances_that_nobody_asked_about_are_not_taken_from_a_report(listen, items):
    commitments = Commitments()
    port = listen(on_commitment=commitments.record).port
    uid = generate_uid()
    with scripted_peer([(evt.EVT_N_ACTION, _accept)], COMMITMENT) as pacs:
        commitments.request(pacs, QUICK, items[:1], transaction_uid=uid, wait_s=0.1)
        _send_report(port, _report(uid, items))
        assert commitments.request(pacs, QUICK, items[:1], transaction_uid=uid, wait_s=0.1) == {
            items[0].sop_instance_uid: True
        }


def test_a_request_to_commit_is_answered_with_no_such_action(listen, items):
    assoc = associate(listen(on_commitment=Commitments().record).port, COMMITMENT)
    status, _ = assoc.send_n_action(_report(generate_uid(), items), 1, COMMITMENT, COMMITMENT_INSTANCE)
    assoc.release()
    assert status.Status == 0x0123


def test_without_anyone_to_record_them_reports_are_not_accepted(listen):
    assoc = associate(listen().port, "1.2.840.10008.1.1", COMMITMENT)
    assert [str(context.abstract_syntax) for context in assoc.accepted_contexts] == ["1.2.840.10008.1.1"]
    assoc.release()


def test_the_number_of_open_transactions_is_bounded(items):
    commitments = Commitments()
    with scripted_peer([(evt.EVT_N_ACTION, _accept)], COMMITMENT) as pacs:
        first = generate_uid()
        commitments.request(pacs, QUICK, items[:1], transaction_uid=first, wait_s=0)
    for number in range(1000):
        commitments._open(f"1.2.{number}", pacs, items[:1])
    report = CommitmentReport(transaction_uid=first, committed=frozenset(), failed={})
    assert commitments.record(report) == 0x0115


@needs("storescp")
def test_storescp_offers_neither_commitment_nor_queries_and_nothing_is_claimed(tmp_path, items):
    with dcmtk.storescp(tmp_path / "pacs") as port:
        pacs = peer(port, "STORESCP")
        assert Commitments().request(pacs, QUICK, items, transaction_uid=generate_uid(), wait_s=5) is None
        assert count_instances(pacs, QUICK, "1.2.3", "1.2.4") is None
        for mode in ("auto", "required", "off"):
            assert confirm(pacs, QUICK, items, commitment=mode, wait_s=1, commitments=Commitments()) == {}


def test_a_peer_that_accepts_none_of_it_is_not_a_fault(items):
    with scripted_peer([], MRImageStorage) as pacs:
        assert confirm(pacs, QUICK, items, commitment="auto", wait_s=1, commitments=Commitments()) == {}


def test_a_query_that_fails_says_nothing(items):
    with scripted_peer([(evt.EVT_C_FIND, lambda _: iter([(0xA700, None)]))], STUDY_ROOT_FIND) as pacs:
        assert confirm(pacs, QUICK, items, commitment="off", wait_s=0, commitments=Commitments()) == {}


def test_a_query_that_is_broken_off_is_not_half_an_answer(items):
    def one_then_gone(event: evt.Event):
        match = Dataset()
        match.SOPInstanceUID = items[0].sop_instance_uid
        yield 0xFF00, match
        event.assoc.abort()

    with (
        scripted_peer([(evt.EVT_C_FIND, one_then_gone)], STUDY_ROOT_FIND) as pacs,
        pytest.raises(PeerUnavailable),
    ):
        confirm(pacs, QUICK, items, commitment="off", wait_s=0, commitments=Commitments())


def test_a_peer_that_is_down_is_unavailable_and_leaves_no_transaction(items):
    commitments = Commitments()
    uid = generate_uid()
    with scripted_peer([], COMMITMENT) as pacs:
        pass
    with pytest.raises(PeerUnavailable, match="connection refused"):
        commitments.request(pacs, QUICK, items, transaction_uid=uid, wait_s=1)
    report = CommitmentReport(transaction_uid=uid, committed=frozenset(), failed={})
    assert commitments.record(report) == 0x0115


def test_several_cases_may_wait_at_once(listen, items):
    commitments = Commitments()
    port = listen(on_commitment=commitments.record).port
    all_asked = Event()
    requests: list[tuple[str, str]] = []

    def note(event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        requests.append((information.TransactionUID, information.ReferencedSOPSequence[0].ReferencedSOPInstanceUID))
        if len(requests) == len(items):
            all_asked.set()
        return 0x0000, None

    answers: dict[str, object] = {}

    def ask(item: OutgoingInstance) -> None:
        answers[item.sop_instance_uid] = commitments.request(
            pacs, QUICK, [item], transaction_uid=generate_uid(), wait_s=10
        )

    with scripted_peer([(evt.EVT_N_ACTION, note)], COMMITMENT) as pacs:
        askers = [Thread(target=ask, args=(item,)) for item in items]
        for asker in askers:
            asker.start()
        assert all_asked.wait(10)
        by_uid = {item.sop_instance_uid: item for item in items}
        for transaction_uid, uid in reversed(requests):
            _send_report(port, _report(transaction_uid, [by_uid[uid]]))
        for asker in askers:
            asker.join(10)
    assert answers == {uid: {uid: True} for uid in by_uid}
