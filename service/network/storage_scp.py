"""The listener of the service: verification, storage, and reports on storage commitments that we asked for."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog
from pynetdicom import evt

from service.errors import StorageUnavailable
from service.network import statuses
from service.network.commitment import RecordReport, answer_report
from service.network.contexts import offered_commitment_reports, offered_storage, verification
from service.network.faults import where
from service.network.listener import (
    AssociationRequest,
    Handler,
    Listener,
    ListenerSettings,
    Rejection,
    request_of,
)

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
    """

    encoded_dataset: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    calling_address: str


Receive = Callable[[ReceivedInstance], int]
"""Keeps an instance and gives the DIMSE status: 0x0000 only once it is durable."""


def accept_policy(
    calling_ae_titles: Collection[str],
    promiscuous: bool,
    called_ae: str | None,
    has_room: Callable[[], bool],
) -> Callable[[AssociationRequest], Rejection | None]:
    """Who may associate.

    Parameters
    ----------
    calling_ae_titles
        Who may call. With none, and not promiscuous, any AE title may, but from this machine only.
    called_ae
        What we must be called; None does not look.
    has_room
        Whether storage takes more. Refusing the association is kinder than failing each instance: senders retry.
    """
    known = frozenset(calling_ae_titles)

    def admit(request: AssociationRequest) -> Rejection | None:
        may_call = request.calling_ae in known if known else _is_local(request.calling_address)
        if not (promiscuous or may_call):
            return Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
        if called_ae is not None and request.called_ae != called_ae:
            return Rejection.CALLED_AE_TITLE_NOT_RECOGNISED
        return None if has_room() else Rejection.TEMPORARY_CONGESTION

    return admit


def storage_listener(
    settings: ListenerSettings,
    *,
    receive: Receive,
    admit: Callable[[AssociationRequest], Rejection | None],
    on_released: Callable[[], None] = lambda: None,
    on_commitment: RecordReport | None = None,
    on_rejected: Callable[[AssociationRequest, Rejection], None] = lambda _request, _why: None,
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
    on_commitment
        `service.network.commitment.Commitments.record`; without it reports are not accepted.
    """
    contexts = [verification(), *offered_storage()]
    handlers = [*storage_handlers(receive), *_end_handlers(on_released)]
    if on_commitment is not None:
        contexts.append(offered_commitment_reports())
        handlers.append((evt.EVT_N_EVENT_REPORT, answer_report, [on_commitment]))
        handlers.append((evt.EVT_N_ACTION, _refuse_to_commit))
    return Listener(settings, contexts=contexts, handlers=handlers, admit=admit, on_rejected=on_rejected, tls=tls)


def storage_handlers(receive: Receive) -> list[Handler]:
    """For a `Listener` that offers storage."""
    return [(evt.EVT_C_STORE, _store, [receive])]


def _store(event: evt.Event, receive: Receive) -> int:
    request = event.request
    if not _UID.fullmatch(str(request.AffectedSOPInstanceUID)):
        return statuses.INVALID_SOP_INSTANCE
    caller = request_of(event.assoc)
    instance = ReceivedInstance(
        encoded_dataset=event.encoded_dataset(include_meta=False),
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae=caller.calling_ae,
        calling_address=caller.calling_address,
    )
    try:
        return receive(instance)
    except StorageUnavailable as fault:
        _log.error("instance not stored", calling_ae=caller.calling_ae, fault=str(fault))
        return statuses.OUT_OF_RESOURCES
    except Exception as fault:  # noqa: BLE001 - whatever fails, the peer must not read success
        _log.error("instance not stored", calling_ae=caller.calling_ae, fault=where(fault))
        return statuses.CANNOT_UNDERSTAND  # C-STORE has no Processing Failure (PS3.7 9.1.1.1.9)


def _refuse_to_commit(event: evt.Event) -> tuple[int, None]:
    _log.warning("storage commitment requested of us", calling_ae=request_of(event.assoc).calling_ae)
    return statuses.NO_SUCH_ACTION, None


def _end_handlers(on_released: Callable[[], None]) -> list[Handler]:
    def ended(_: evt.Event) -> None:
        try:
            on_released()
        except Exception as fault:  # noqa: BLE001 - the library would drop it without a word
            _log.error("the end of an association was not dealt with", fault=where(fault))

    return [(evt.EVT_RELEASED, ended), (evt.EVT_ABORTED, ended)]


def _is_local(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
