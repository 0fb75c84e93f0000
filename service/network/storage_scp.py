"""The listener of the service: verification, storage, and reports on storage commitments that we asked for."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import structlog

from service.errors import StorageUnavailable
from service.network import commands, statuses
from service.network.commitment import RecordReport, report_service
from service.network.contexts import offered_commitment_reports, offered_storage, verification
from service.network.conversation import Answer, Request, Services
from service.network.faults import where
from service.network.intake import Intake, IntakeLimits
from service.network.listener import Listener, ListenerSettings
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
    services = dict(storage_services(receive, intake))
    if on_commitment is not None:
        contexts.append(offered_commitment_reports())
        services[commands.N_EVENT_REPORT_RQ] = report_service(on_commitment)
        services[commands.N_ACTION_RQ] = _refuse_to_commit

    def ended(association: str) -> None:
        intake.forget(association)
        on_released()
        on_ended(association)

    return Listener(
        replace(settings, largest_dataset=intake.limits.instance),
        contexts=contexts,
        services=services,
        admit=admit,
        on_refused=on_refused,
        on_ended=ended,
        tls=tls,
    )


def storage_services(receive: Receive, intake: Intake | None = None) -> Services:
    """Verification and storage, for a `Listener` that offers them."""

    def store(request: Request) -> Iterator[Answer]:
        yield Answer(status=_store(request, receive, intake))

    return {commands.C_ECHO_RQ: _echo, commands.C_STORE_RQ: store}


def _echo(_: Request) -> Iterator[Answer]:
    yield Answer(status=statuses.SUCCESS)


def _store(request: Request, receive: Receive, intake: Intake | None) -> int:
    sop_instance_uid = request.command.uid(commands.AFFECTED_SOP_INSTANCE)
    sop_class_uid = request.command.uid(commands.AFFECTED_SOP_CLASS)
    if not _UID.fullmatch(sop_instance_uid):
        return statuses.INVALID_SOP_INSTANCE
    if not _UID.fullmatch(sop_class_uid):
        return statuses.SOP_CLASS_NOT_SUPPORTED
    if intake is not None and not intake.admits(request):
        return statuses.OUT_OF_RESOURCES
    instance = ReceivedInstance(
        encoded_dataset=request.dataset,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=request.context.transfer_syntax,
        calling_ae=request.caller.calling_ae,
        calling_address=request.caller.calling_address,
        association=request.association,
    )
    try:
        return receive(instance)
    except StorageUnavailable as fault:
        _log.error("instance not stored", calling_ae=instance.calling_ae, fault=str(fault))
        if intake is not None:
            intake.refuse(request, Excess.STORAGE_SHORT)
        return statuses.OUT_OF_RESOURCES
    except Exception as fault:  # noqa: BLE001 - whatever fails, the peer must not read success
        _log.error("instance not stored", calling_ae=instance.calling_ae, fault=where(fault))
        return statuses.CANNOT_UNDERSTAND  # C-STORE has no Processing Failure (PS3.7 9.1.1.1.9)


def _refuse_to_commit(request: Request) -> Iterator[Answer]:
    _log.warning("storage commitment requested of us", calling_ae=request.caller.calling_ae)
    yield Answer(status=statuses.NO_SUCH_ACTION)
