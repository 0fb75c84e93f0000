"""Verification and storage as a client: does the peer answer, and does it take these files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom.association import Association

from service.errors import PeerUnavailable, StorageUnavailable
from service.network import statuses
from service.network.association import NothingInCommon, association
from service.network.contexts import UNCOMPRESSED, accepted_pairs, proposed_storage, verification
from service.network.peers import LocalEntity, Peer

_MEDIUM_PRIORITY = 0  # PS3.7 9.3.1.1
_MESSAGE_IDS = 0xFFFF
_NO_ANSWER = "no answer: the association ended"
_NOT_SENT = "not sent: the association ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingInstance:
    """A Part 10 file to send.

    Attributes
    ----------
    study_instance_uid, series_instance_uid
        For C-FIND; where empty they are read from the file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    study_instance_uid: str = ""
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """What became of one instance.

    Attributes
    ----------
    status
        The DIMSE status, e.g. ``0x0000``, or in words why there is none.
    accepted
        The peer answered that it has it (see `service.network.statuses.is_accepted`).
    """

    sop_instance_uid: str
    status: str
    accepted: bool


def echo(peer: Peer, local: LocalEntity) -> None:
    """C-ECHO.

    Raises
    ------
    PeerUnavailable
        In words an administrator can act on; see `service.network.association.association`.
    """
    with association(peer, local, [verification()]) as assoc:
        answer = assoc.send_c_echo()
        if "Status" not in answer:
            raise PeerUnavailable(f"{peer.name}: no answer to C-ECHO within {local.dimse_timeout_s:g} s")
        if answer.Status != statuses.SUCCESS:
            raise PeerUnavailable(f"{peer.name}: C-ECHO was answered with status {statuses.spell(answer.Status)}")


def store(peer: Peer, local: LocalEntity, objects: Sequence[OutgoingInstance]) -> tuple[StoreResult, ...]:
    """C-STORE, all on one association, the files' bytes as they are.

    Only where the peer takes uncompressed objects in the other VR encoding alone is a file re-encoded.
    Compressed files are sent only to peers that accept their transfer syntax.

    Returns
    -------
    One result per object, in order. When the association ends early, those that were answered keep their
    answer, and the others say that there is none.

    Raises
    ------
    PeerUnavailable
        There was no association, or it ended before the first answer.
    StorageUnavailable
        A file cannot be read.
    """
    if not objects:
        return ()
    kinds = [_kind(item.path) for item in objects]
    results: list[StoreResult] = []
    try:
        with association(peer, local, proposed_storage(kinds)) as assoc:
            for number, (item, kind) in enumerate(zip(objects, kinds, strict=True)):
                results.append(_store_one(assoc, item, kind, number % _MESSAGE_IDS + 1))
                if results[-1].status == _NO_ANSWER:
                    break
    except NothingInCommon:
        return tuple(_refused(item, _no_context(*kind)) for item, kind in zip(objects, kinds, strict=True))
    if all(result.status == _NO_ANSWER for result in results):
        raise PeerUnavailable(f"{peer.name}: the association ended before the first of {len(objects)} was answered")
    results += [_refused(item, _NOT_SENT) for item in objects[len(results) :]]
    return tuple(results)


def _kind(path: Path) -> tuple[str, str]:
    """(SOP class, transfer syntax) of a file."""
    try:
        meta = read_file_meta_info(path)
    except OSError as fault:
        raise _unreadable(path, fault) from fault
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


def _store_one(assoc: Association, item: OutgoingInstance, kind: tuple[str, str], message_id: int) -> StoreResult:
    accepted = accepted_pairs(assoc.accepted_contexts)
    sop_class, transfer_syntax = kind
    convertible = transfer_syntax in UNCOMPRESSED and any((sop_class, other) in accepted for other in UNCOMPRESSED)
    if kind not in accepted and not convertible:
        return _refused(item, _no_context(*kind))
    try:
        answer = assoc.send_c_store(
            item.path if kind in accepted else dcmread(item.path), msg_id=message_id, priority=_MEDIUM_PRIORITY
        )
    except OSError as fault:
        raise _unreadable(item.path, fault) from fault
    except RuntimeError:  # the association ended since the last one
        return _refused(item, _NO_ANSWER)
    if "Status" not in answer:
        return _refused(item, _NO_ANSWER)
    return StoreResult(
        sop_instance_uid=item.sop_instance_uid,
        status=statuses.spell(answer.Status),
        accepted=statuses.is_accepted(answer.Status),
    )


def _unreadable(path: Path, fault: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"{path.name} cannot be read ({fault.strerror})")


def _refused(item: OutgoingInstance, why: str) -> StoreResult:
    return StoreResult(sop_instance_uid=item.sop_instance_uid, status=why, accepted=False)


def _no_context(sop_class: str, transfer_syntax: str) -> str:
    return f"the peer does not accept {UID(sop_class).name} in {UID(transfer_syntax).name}"
