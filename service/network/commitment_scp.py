"""Storage commitment, push model, as the archive that is asked (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from weakref import WeakKeyDictionary

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from service.network import statuses
from service.network.checkpoint import guard
from service.network.commitment import ALL_COMMITTED, REQUEST, SOME_FAILED
from service.network.contexts import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from service.network.listener import Handler

Has = Callable[[str, str], bool]
"""Whether an object is kept, by SOP class and SOP Instance UID."""
_log = structlog.get_logger()


def commitment_handlers(has: Has) -> list[Handler]:
    """For a `Listener` that offers storage commitment: take every request, and report at once on its association."""
    owed: WeakKeyDictionary[Association, Dataset] = WeakKeyDictionary()

    def take(event: evt.Event) -> tuple[int, None]:
        if event.action_type != REQUEST:
            return statuses.NO_SUCH_ACTION, None
        if not {"TransactionUID", "ReferencedSOPSequence"} <= set(event.action_information.dir()):
            return statuses.INVALID_ARGUMENT_VALUE, None
        owed[event.assoc] = _judge(event.action_information, has)
        return statuses.SUCCESS, None

    def sent(event: evt.Event) -> None:
        # The first data after the request are its answer, and the report has to come after that.
        if isinstance(event.pdu, P_DATA_TF) and event.assoc in owed:
            Thread(target=_report, args=(event.assoc, owed.pop(event.assoc)), daemon=True, name="commitment").start()

    def opened(event: evt.Event) -> None:
        guard(event.assoc)

    return [(evt.EVT_CONN_OPEN, opened), (evt.EVT_N_ACTION, take), (evt.EVT_PDU_SENT, sent)]


def _judge(request: Dataset, has: Has) -> Dataset:
    """Event information of the report (PS3.4 table J.3-2)."""
    report = Dataset()
    report.TransactionUID = request.TransactionUID
    committed: list[Dataset] = []
    failed: list[Dataset] = []
    for asked in request.ReferencedSOPSequence:
        item = Dataset()
        item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
        if has(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)):
            committed.append(item)
        else:
            item.FailureReason = statuses.COMMITMENT_NO_SUCH_INSTANCE
            failed.append(item)
    if committed:  # neither sequence may be there without an item
        report.ReferencedSOPSequence = committed
    if failed:
        report.FailedSOPSequence = failed
    return report


def _report(assoc: Association, report: Dataset) -> None:
    event_type = SOME_FAILED if "FailedSOPSequence" in report else ALL_COMMITTED
    try:
        status, _ = assoc.send_n_event_report(report, event_type, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
    except RuntimeError:
        _log.warning("storage commitment not reported: the association has ended")
        return
    if status.get("Status") != statuses.SUCCESS:
        _log.warning("storage commitment report not accepted")
