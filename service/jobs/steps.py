"""The real steps of a case: ledger states and deliveries around the conversion and the network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from service.cases import Case, CaseOutcome, CaseState
from service.dicom.records import StoredInstance
from service.errors import PeerUnavailable, PermanentError, Reason
from service.jobs.port import CaseSuperseded, Converted
from service.jobs.results import ConvertedPair, ResultObject, read_index, write_index
from service.storage.case_rows import IllegalTransition
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.storage.used_series import UsedSeries
from service.storage.work_ledger import DeliveryState

MAX_INTERRUPTIONS = 3
"""A conversion that ended its worker so often (out of memory, a crash in native code) will do it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """A destination's answer to one instance; `status` as text, e.g. ``0x0000``."""

    sop_instance_uid: str
    accepted: bool
    status: str


class ConvertPair(Protocol):
    """Turns a pair into a result below `directory`; gives the same objects for the same input."""

    def __call__(
        self,
        case: Case,
        baseline: Sequence[StoredInstance],
        delayed: Sequence[StoredInstance],
        directory: Path,
    ) -> ConvertedPair:
        """Write the objects and say what came of it; a refusal is a result, not an exception."""
        ...


class Send(Protocol):
    """Sends objects to a destination by C-STORE."""

    def __call__(self, destination: str, objects: Sequence[ResultObject]) -> Sequence[SendResult]:
        """One answer per object; `PeerUnavailable` when there was no association."""
        ...


class Confirm(Protocol):
    """Asks a destination, by storage commitment or C-FIND, what it keeps."""

    def __call__(self, destination: str, objects: Sequence[ResultObject]) -> Mapping[str, bool]:
        """True kept, False not there, by SOP Instance UID; left out while there is no answer."""
        ...


class LedgerCaseSteps:
    """`CaseSteps` on ledger and spool, with the conversion and the network handed in.

    Parameters
    ----------
    destinations
        Names, as `send` and `confirm` know them; with none a case is done once it is converted.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        *,
        convert_pair: ConvertPair,
        send: Send,
        confirm: Confirm,
        destinations: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._convert_pair = convert_pair
        self._send = send
        self._confirm = confirm
        self._destinations = tuple(destinations)
        self._now = now

    def convert(self, case_id: str, revision: int) -> Converted:
        """Convert once, publish the result, note what is to be delivered, and move the case to sending."""
        case = self._current(case_id, revision)
        published = self._spool.result_path(case_id, revision).is_dir()
        if case.state is CaseState.RUNNING:
            interruptions = self._ledger.cases.interrupted(case_id, now=self._now())
            if interruptions > MAX_INTERRUPTIONS and not published:
                raise PermanentError(
                    f"the conversion ended its worker {interruptions} times; see the log around those times"
                )
        elif case.state is not CaseState.SENDING and not published:
            case = self._move(case, CaseState.RUNNING, text=f"revision {revision}")
        directory = self._spool.publish_result(case_id, revision, lambda draft: self._build(case, draft))
        pair = read_index(directory)
        self._ledger.used.record(case_id, revision, pair.used, self._now())
        uids = [item.sop_instance_uid for item in pair.objects]
        self._ledger.deliveries.plan(case_id, revision, self._destinations, uids, self._now())
        self._to_sending(self._current(case_id, revision), pair)
        return Converted(outcome=pair.outcome, destinations=self._destinations)

    def deliver(self, case_id: str, revision: int, destination: str) -> None:
        """Send the instances that the destination has not accepted."""
        case = self._current(case_id, revision)
        pair, waiting = self._open_deliveries(case, destination, (DeliveryState.PENDING, DeliveryState.FAILED))
        if waiting:
            results = self._send(destination, waiting)
            for result in results:
                self._mark(
                    case,
                    destination,
                    result.sop_instance_uid,
                    DeliveryState.SENT if result.accepted else DeliveryState.FAILED,
                    status=result.status,
                )
            accepted = sum(result.accepted for result in results)
            if accepted < len(waiting):
                refused = sorted({result.status for result in results if not result.accepted})
                raise PeerUnavailable(
                    f"{destination} accepted {accepted} of {len(waiting)} instances; statuses: {', '.join(refused)}"
                )
        self._to_sending(case, pair)

    def confirm(self, case_id: str, revision: int, destination: str) -> bool:
        """Ask for what is not confirmed; what the destination does not have will be sent again."""
        case = self._current(case_id, revision)
        _, open_ = self._open_deliveries(case, destination, set(DeliveryState) - {DeliveryState.CONFIRMED})
        if not open_:
            return True
        answers = self._confirm(destination, open_)
        for item in open_:
            kept = answers.get(item.sop_instance_uid)
            if kept is not None:
                state = DeliveryState.CONFIRMED if kept else DeliveryState.PENDING
                status = "confirmed" if kept else "not at the destination"
                self._mark(case, destination, item.sop_instance_uid, state, status=status)
        return all(answers.get(item.sop_instance_uid) for item in open_)

    def close(self, case_id: str, revision: int) -> None:
        """Done: every destination has confirmed every instance."""
        case = self._current(case_id, revision)
        deliveries = self._ledger.deliveries.of(case_id, revision)
        missing = sum(delivery.state is not DeliveryState.CONFIRMED for delivery in deliveries)
        if missing:
            raise PermanentError(f"{missing} of {len(deliveries)} deliveries are not confirmed; retry the case")
        if case.state is not CaseState.SENDING:
            self._to_sending(case, read_index(self._spool.result_path(case_id, revision)))
            case = self._current(case_id, revision)
        text = f"{len(deliveries)} deliveries confirmed" if deliveries else "converted; no destination is configured"
        self._move(case, CaseState.DONE, text=text)

    def retrying(self, case_id: str, revision: int, reason: Reason) -> None:
        """Red on the page, while the queue keeps trying."""
        self._fail(case_id, revision, (reason,), retrying=True)

    def fail(self, case_id: str, revision: int, reasons: Collection[Reason]) -> None:
        """Red on the page until a person retries or discards."""
        self._fail(case_id, revision, reasons, retrying=False)

    def _fail(self, case_id: str, revision: int, reasons: Collection[Reason], *, retrying: bool) -> None:
        try:
            self._ledger.cases.fail(case_id, revision, reasons, retrying=retrying, now=self._now())
        except IllegalTransition as fault:
            raise CaseSuperseded(str(fault)) from fault

    def _current(self, case_id: str, revision: int) -> Case:
        """The case, if this job still is the one to work on it."""
        case = self._ledger.cases.case(case_id)
        working = (CaseState.QUEUED, CaseState.RUNNING, CaseState.SENDING, CaseState.FAILED)
        if case.revision != revision or case.state not in working:
            raise CaseSuperseded(f"case {case_id} is {case.state.value} in revision {case.revision}")
        return case

    def _move(self, case: Case, to: CaseState, *, text: str) -> Case:
        try:
            return self._ledger.cases.transition(
                case.case_id,
                expected=(case.state,),
                to=to,
                revision=case.revision,
                reasons=() if to is CaseState.RUNNING else None,  # an earlier try's are history now
                text=text,
                now=self._now(),
            )
        except IllegalTransition as fault:
            raise CaseSuperseded(str(fault)) from fault

    def _to_sending(self, case: Case, pair: ConvertedPair) -> None:
        if case.state is CaseState.SENDING:
            return
        if case.state is CaseState.QUEUED:  # published before a crash or a restore of the ledger
            case = self._move(case, CaseState.RUNNING, text="result found in the spool")
        try:
            self._ledger.cases.transition(
                case.case_id,
                expected=(case.state,),
                to=CaseState.SENDING,
                revision=case.revision,
                outcome=pair.outcome,
                reasons=pair.reasons,
                text=pair.outcome.value,
                now=self._now(),
            )
        except IllegalTransition as fault:
            raise CaseSuperseded(str(fault)) from fault

    def _build(self, case: Case, draft: Path) -> None:
        received = self._ledger.instances
        baseline = received.instances_of(case.baseline_series_uid)
        delayed = received.instances_of(case.delayed_series_uid)
        if not (baseline and delayed):
            raise PermanentError("a series of the pair is no longer in the spool; send it again and retry the case")
        pair = self._convert_pair(case, baseline, delayed, draft)
        if pair.outcome is CaseOutcome.FAILED:
            raise PermanentError("the conversion reported a failure; see the log")
        used = (
            UsedSeries.of(case.baseline_series_uid, (stored.sop_instance_uid for stored in baseline)),
            UsedSeries.of(case.delayed_series_uid, (stored.sop_instance_uid for stored in delayed)),
        )
        write_index(draft, replace(pair, used=used))

    def _open_deliveries(
        self, case: Case, destination: str, states: Collection[DeliveryState]
    ) -> tuple[ConvertedPair, list[ResultObject]]:
        """The result, and those of its objects whose delivery is in one of `states`."""
        pair = read_index(self._spool.result_path(case.case_id, case.revision))
        deliveries = self._ledger.deliveries.of(case.case_id, case.revision, destination)
        wanted = {delivery.sop_instance_uid for delivery in deliveries if delivery.state in states}
        return pair, [item for item in pair.objects if item.sop_instance_uid in wanted]

    def _mark(self, case: Case, destination: str, uid: str, state: DeliveryState, *, status: str) -> None:
        self._ledger.deliveries.mark(
            case.case_id, case.revision, destination, [uid], state, status=status, now=self._now()
        )
