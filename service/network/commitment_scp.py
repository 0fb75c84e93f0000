"""Storage commitment, push model, as the archive that is asked (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydicom.dataset import Dataset

from service.network import commands, statuses
from service.network.commitment import ALL_COMMITTED, REQUEST, SOME_FAILED
from service.network.contexts import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from service.network.conversation import Answer, EventReport, Request, Service

Has = Callable[[str, str], bool]
"""Whether an object is kept, by SOP class and SOP Instance UID."""


def commitment_service(has: Has) -> Service:
    """For a `Listener` that offers storage commitment: take every request, and report at once on its association."""

    def take(request: Request) -> Iterator[Answer | EventReport]:
        if request.command.number(commands.ACTION_TYPE) != REQUEST:
            yield Answer(status=statuses.NO_SUCH_ACTION)
            return
        asked = request.identifier()
        if not {"TransactionUID", "ReferencedSOPSequence"} <= set(asked.dir()):
            yield Answer(status=statuses.INVALID_ARGUMENT_VALUE)
            return
        yield Answer(status=statuses.SUCCESS)
        report = _judge(asked, has)
        yield EventReport(
            sop_class_uid=STORAGE_COMMITMENT,
            sop_instance_uid=STORAGE_COMMITMENT_INSTANCE,
            event_type=SOME_FAILED if "FailedSOPSequence" in report else ALL_COMMITTED,
            information=report,
        )

    return take


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
