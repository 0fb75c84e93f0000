"""The listener of the service: verification, storage, and reports on storage commitments that we asked for."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import structlog
from pynetdicom import evt

from service.errors import StorageUnavailable
from service.network import statuses
from service.network.commitment import RecordReport, answer_report
from service.network.contexts import offered_commitment_reports, offered_storage, verification
from service.network.faults import where
from service.network.intake import Intake, IntakeLimits
from service.network.listener import Handler, Listener, ListenerSettings, request_of
from service.network.requests import AssociationRequest, Excess, OnRefused, Rejection

_UID = re.compile(r"[0-9.]{1,64}")
"""Looser than PS3.5 9.1: leading zeros and the like occur, and do no harm to a file name or a key."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """One C-STORE request.

    Attributes
    ----------
    encoded_dataset
        The data set's bytes as they came, without file meta information; never decoded on the way.
    sop_class_uid, sop_instance_uid
        From the command. Whether the data set agrees is for the receiver to check.
    calling_address
        IP address of the sender.
    association
        Tells this association from all others of the listener.
    """

    encoded_dataset: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    calling_address: str
    association: str


Receive = Callable[[ReceivedInstance], int]
"""Keeps an instance and gives the DIMSE status: 0x0000 only once it is durable."""


def storage_listener(
    settings: ListenerSettings,
    *,
    receive: Receive,
    admit: Callable[[AssociationRequest], Rejection | None],
    on_released: Callable[[], None] = lambda: None,
    on_ended: Callable[[str], None] = lambda _: None,
    on_commitment: RecordReport | None = None,
    on_refused: OnRefused = lambda _: None,
    intake: Intake | None = None,
    tls: ssl.SSLContext | None = None,
) -> Listener:
    """Verification, storage (`service.network.contexts` lists of what) and storage commitment reports.

    We are asked for commitments ourselves by nobody who knows us: this software archives nothing for good. An
    N-ACTION that comes all the same is answered with No Such Action (0x0123), upon which the asker keeps its images.

    Parameters
    ----------
    receive
        Called in the association's thread, for several associations at a time. When it raises, the peer reads a
        failure: 0xA700 for `StorageUnavailable`, else 0xC000.
    on_released
        Called when an association has ended, also when it was aborted or the connection lost.
    on_ended
        Then told which, as `ReceivedInstance.association` names it.
    on_commitment
        `service.network.commitment.Commitments.record`; without it reports are not accepted.
    on_refused
        Told of everything that the listener refused; `intake` tells for itself.
    intake
        Limits on what is sent; without it none on sizes.
    """
    intake = intake or Intake(IntakeLimits(), on_refused=on_refused, today=lambda: date.min)
    contexts = [verification(), *offered_storage()]
    handlers = [*storage_handlers(receive, intake), *_end_handlers(on_released, on_ended)]
    if on_commitment is not None:
        contexts.append(offered_commitment_reports())
        handlers.append((evt.EVT_N_EVENT_REPORT, answer_report, [on_commitment]))
        handlers.append((evt.EVT_N_ACTION, _refuse_to_commit))
    return Listener(settings, contexts=contexts, handlers=handlers, admit=admit, on_refused=on_refused, tls=tls)


def storage_handlers(receive: Receive, intake: Intake | None = None) -> list[Handler]:
    """For a `Listener` that offers storage."""
    handlers: list[Handler] = [(evt.EVT_C_STORE, _store, [receive, intake])]
    if intake is not None:
        handlers += [(evt.EVT_PDU_RECV, intake.on_pdu), (evt.EVT_DIMSE_RECV, intake.on_message)]
    return handlers


def _store(event: evt.Event, receive: Receive, intake: Intake | None) -> int:
    request = event.request
    if not _UID.fullmatch(str(request.AffectedSOPInstanceUID)):
        return statuses.INVALID_SOP_INSTANCE
    if intake is not None and not intake.admits(event.assoc, request.MessageID, request.DataSet.getbuffer().nbytes):
        return statuses.OUT_OF_RESOURCES
    caller = request_of(event.assoc)
    instance = ReceivedInstance(
        encoded_dataset=event.encoded_dataset(include_meta=False),
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae=caller.calling_ae,
        calling_address=caller.calling_address,
        association=event.assoc.name,
    )
    try:
        return receive(instance)
    except StorageUnavailable as fault:
        _log.error("instance not stored", calling_ae=caller.calling_ae, fault=str(fault))
        if intake is not None:
            intake.refuse(event.assoc, Excess.STORAGE_SHORT)
        return statuses.OUT_OF_RESOURCES
    except Exception as fault:  # noqa: BLE001 - whatever fails, the peer must not read success
        _log.error("instance not stored", calling_ae=caller.calling_ae, fault=where(fault))
        return statuses.CANNOT_UNDERSTAND  # C-STORE has no Processing Failure (PS3.7 9.1.1.1.9)


def _refuse_to_commit(event: evt.Event) -> tuple[int, None]:
    _log.warning("storage commitment requested of us", calling_ae=request_of(event.assoc).calling_ae)
    return statuses.NO_SUCH_ACTION, None


def _end_handlers(on_released: Callable[[], None], on_ended: Callable[[str], None]) -> list[Handler]:
    def ended(event: evt.Event) -> None:
        try:
            on_released()
            on_ended(event.assoc.name)
        except Exception as fault:  # noqa: BLE001 - the library would drop it without a word
            _log.error("the end of an association was not dealt with", fault=where(fault))

    return [(evt.EVT_RELEASED, ended), (evt.EVT_ABORTED, ended)]
