"""Storage commitment, push model, as a client (PS3.4 annex J): ask whether a peer takes responsibility.

The peer reports by N-EVENT-REPORT, some on the association of the request, most on one that they open to our
listener seconds or hours later. `Commitments` brings requests and reports together.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread, current_thread
from typing import Protocol

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from service.errors import StorageUnavailable
from service.network import commands, statuses
from service.network.association import NothingInCommon, association
from service.network.contexts import (
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    accepted_classes,
    storage_commitment,
    verification,
)
from service.network.conversation import Answer, Request, Service
from service.network.peers import LocalEntity, Peer
from service.network.storage_scu import OutgoingInstance

REQUEST = 1  # Action Type ID, PS3.4 J.3.2
ALL_COMMITTED, SOME_FAILED = 1, 2  # Event Type ID, PS3.4 J.3.3
_SAME_ASSOCIATION_WAIT_S = 5.0
"""Peers that report on the association of the request do so at once; one that is held longer is in the way."""
_REPORTER_WAIT_S = 5.0
_LOOK_S = 0.5
"""Between two looks for a report that came to another process."""
_KEPT_TRANSACTIONS = 1000
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What a peer reported.

    Attributes
    ----------
    committed
        SOP Instance UIDs that it takes responsibility for.
    failed
        Failure Reason (0008,1197) by SOP Instance UID.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


RecordReport = Callable[[CommitmentReport], int]
"""Takes a report and gives the DIMSE status to answer it with."""


class ReportBox(Protocol):
    """Carries reports to the process that waits for them, from the one whose listener the peer happened to call."""

    def expect(self, transaction_uid: str) -> None:
        """A report on this transaction may come to any process."""
        ...

    def put(self, report: CommitmentReport) -> bool:
        """Keep it; False when nobody expects it."""
        ...

    def look(self, transaction_uid: str) -> CommitmentReport | None:
        """The report, if it has come."""
        ...

    def forget(self, transaction_uid: str) -> None:
        """Nobody waits for it any more."""
        ...


class NoBox:
    """For one process alone, whose own memory will do."""

    def expect(self, transaction_uid: str) -> None:
        """Without effect."""

    def put(self, report: CommitmentReport) -> bool:
        """What this process does not know, nobody expects."""
        return False

    def look(self, transaction_uid: str) -> CommitmentReport | None:
        """None ever comes elsewhere."""
        return None

    def forget(self, transaction_uid: str) -> None:
        """Without effect."""


@dataclass(slots=True, kw_only=True)
class _Transaction:
    peer: str
    asked: frozenset[str]
    report: CommitmentReport | None = None
    arrived: Event = field(default_factory=Event)

    def answers(self) -> dict[str, bool]:
        assert self.report is not None
        said = dict.fromkeys(self.report.committed, True) | dict.fromkeys(self.report.failed, False)
        return {uid: kept for uid, kept in said.items() if uid in self.asked}


class Commitments:
    """Open transactions and the reports on them; for any number of threads.

    What this process asked for is in its memory: after a restart the work that waits asks again.

    Parameters
    ----------
    box
        Where reports go that come to another process than asked.
    """

    def __init__(self, box: ReportBox | None = None) -> None:
        self._box: ReportBox = box or NoBox()
        self._lock = Lock()
        self._transactions: OrderedDict[str, _Transaction] = OrderedDict()

    def request(
        self,
        peer: Peer,
        local: LocalEntity,
        objects: Sequence[OutgoingInstance],
        *,
        transaction_uid: str,
        wait_s: float,
    ) -> Mapping[str, bool] | None:
        """Ask `peer` to commit to `objects`, and wait for its report.

        Parameters
        ----------
        transaction_uid
            New for each request, since it may not be used again once reported (PS3.4 J.3.2.1.1). With one that
            is still open here, nothing is sent and its report is waited for.

        Returns
        -------
        True committed, False refused, by SOP Instance UID, for the objects that the report names. None when the
        peer does not offer storage commitment, refuses the request, or did not report within `wait_s`; a report
        that comes later is kept for `reported_late`.

        Raises
        ------
        PeerUnavailable
            No association.
        StorageUnavailable
            The box failed.
        """
        give_up = time.monotonic() + wait_s
        transaction, is_new = self._open(transaction_uid, peer, objects)
        if is_new:
            asked = False
            try:
                self._box.expect(transaction_uid)
                asked = _ask(
                    peer,
                    local,
                    objects,
                    transaction_uid=transaction_uid,
                    record=self.record,
                    arrived=transaction.arrived,
                    hold_s=min(wait_s, _SAME_ASSOCIATION_WAIT_S),
                )
            finally:
                if not asked:
                    self._close(transaction_uid)
            if not asked:
                return None
        while not transaction.arrived.wait(min(_LOOK_S, max(0.0, give_up - time.monotonic()))):
            self._look(transaction_uid)
            if time.monotonic() >= give_up and not transaction.arrived.is_set():
                return None
        self._close(transaction_uid)
        return transaction.answers()

    def record(self, report: CommitmentReport) -> int:
        """Take a report; for `storage_listener`.

        Returns
        -------
        The status to answer with: success, Invalid Argument Value for a transaction that is not open, or Processing
        Failure where it could not be kept.
        """
        if self._record_here(report):
            return statuses.SUCCESS
        try:
            if self._box.put(report):
                return statuses.SUCCESS
        except StorageUnavailable as fault:
            _log.error("storage commitment report not kept", fault=str(fault))
            return statuses.PROCESSING_FAILURE
        _log.warning("storage commitment report on a transaction that is not open")
        return statuses.INVALID_ARGUMENT_VALUE

    def reported_late(self, peer: Peer, uids: Collection[str]) -> frozenset[str]:
        """Which of `uids` the peer committed to in reports that nobody waited for any more; told once."""
        wanted = frozenset(uids)
        with self._lock:
            ours = [(uid, open_) for uid, open_ in self._transactions.items() if open_.peer == peer.name]
        committed: set[str] = set()
        for transaction_uid, transaction in ours:
            if not transaction.asked & wanted:
                continue
            if transaction.report is None:
                self._look(transaction_uid)
            if transaction.report is not None:
                committed |= {uid for uid, kept in transaction.answers().items() if kept}
                self._close(transaction_uid)
        return frozenset(committed & wanted)

    def _open(self, transaction_uid: str, peer: Peer, objects: Sequence[OutgoingInstance]) -> tuple[_Transaction, bool]:
        asked = frozenset(item.sop_instance_uid for item in objects)
        with self._lock:
            known = self._transactions.get(transaction_uid)
            if known is not None:
                return known, False
            transaction = _Transaction(peer=peer.name, asked=asked)
            self._transactions[transaction_uid] = transaction
            while len(self._transactions) > _KEPT_TRANSACTIONS:
                self._transactions.popitem(last=False)
            return transaction, True

    def _record_here(self, report: CommitmentReport) -> bool:
        with self._lock:
            transaction = self._transactions.get(report.transaction_uid)
            if transaction is None:
                return False
            if transaction.report is None:
                transaction.report = report
                transaction.arrived.set()
            return True

    def _look(self, transaction_uid: str) -> None:
        report = self._box.look(transaction_uid)
        if report is not None:
            self._record_here(report)

    def _close(self, transaction_uid: str) -> None:
        with self._lock:
            self._transactions.pop(transaction_uid, None)
        self._box.forget(transaction_uid)


def report_service(record: RecordReport) -> Service:
    """For a `Listener`: N-EVENT-REPORTs on an association that the peer opened."""

    def answer(request: Request) -> Iterator[Answer]:
        yield Answer(status=answer_report(request.command.number(commands.EVENT_TYPE), request.identifier(), record))

    return answer


def answer_report(event_type: int, information: Dataset, record: RecordReport) -> int:
    """Record the event information of an N-EVENT-REPORT (PS3.4 table J.3-2); the status to answer with."""
    if event_type not in (ALL_COMMITTED, SOME_FAILED):
        return statuses.NO_SUCH_EVENT_TYPE
    if "TransactionUID" not in information:
        return statuses.INVALID_ARGUMENT_VALUE
    report = CommitmentReport(
        transaction_uid=str(information.TransactionUID),
        committed=frozenset(
            str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence", ())
        ),
        failed={
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", statuses.COMMITMENT_PROCESSING_FAILURE))
            for item in information.get("FailedSOPSequence", ())
        },
    )
    if report.failed:
        reasons = sorted({statuses.spell(reason) for reason in report.failed.values()})
        _log.warning("storage commitment refused", instances=len(report.failed), reasons=reasons)
    return record(report)


def _ask(
    peer: Peer,
    local: LocalEntity,
    objects: Sequence[OutgoingInstance],
    *,
    transaction_uid: str,
    record: RecordReport,
    arrived: Event,
    hold_s: float,
) -> bool:
    """Whether the peer took the request; the association is held for a report that comes on it."""
    reporters: list[Thread] = []

    def answer(event: evt.Event) -> tuple[int, None]:
        reporters.append(current_thread())
        return answer_report(event.event_type, event.event_information, record), None

    contexts = [storage_commitment(), verification()]
    try:
        with association(peer, local, contexts, [(evt.EVT_N_EVENT_REPORT, answer)]) as assoc:
            if STORAGE_COMMITMENT not in accepted_classes(assoc.accepted_contexts):
                _log.warning("the peer does not offer storage commitment", peer=peer.name)
                return False
            status, _ = assoc.send_n_action(
                _action_information(transaction_uid, objects),
                REQUEST,
                STORAGE_COMMITMENT,
                STORAGE_COMMITMENT_INSTANCE,
            )
            if status.get("Status") != statuses.SUCCESS:
                answered = statuses.spell(status.Status) if "Status" in status else "none"
                _log.warning("storage commitment request refused", peer=peer.name, status=answered)
                return False
            arrived.wait(hold_s)
            for reporter in reporters:  # its answer has to go out before the release
                reporter.join(_REPORTER_WAIT_S)
            return True
    except NothingInCommon:
        return False


def _action_information(transaction_uid: str, objects: Sequence[OutgoingInstance]) -> Dataset:
    """Table J.3-1 of PS3.4."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = []
    for item in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID = item.sop_class_uid
        reference.ReferencedSOPInstanceUID = item.sop_instance_uid
        information.ReferencedSOPSequence.append(reference)
    return information
