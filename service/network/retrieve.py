"""C-MOVE and C-GET as a client: have a peer send a series (Study Root, SERIES level; PS3.4 C.4.2 and C.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal, cast

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from service.errors import PeerUnavailable
from service.network import statuses
from service.network.association import Handler, NothingInCommon, association
from service.network.contexts import (
    MR_IMAGES,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    accepted_classes,
    offered_images,
    study_root_find,
    study_root_get,
    study_root_move,
    verification,
)
from service.network.peers import LocalEntity, Peer
from service.network.query import Responses, responses
from service.network.storage_scp import Receive, ReceivedInstance

_BETWEEN_ANSWERS_S = 600.0
"""Peers need not say how far they are before all has been sent."""
_names = (f"retrieval-{number}" for number in count(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """How many instances the peer says it sent, and how many it could not."""

    completed: int
    failed: int


def missing_services(peer: Peer, local: LocalEntity, method: Literal["move", "get"]) -> tuple[str, ...]:
    """What of finding and retrieving by `method` the peer does not offer.

    Raises
    ------
    PeerUnavailable
        No association.
    """
    wanted = {"C-FIND": STUDY_ROOT_FIND, f"C-{method.upper()}": STUDY_ROOT_MOVE if method == "move" else STUDY_ROOT_GET}
    retrieve = study_root_move() if method == "move" else study_root_get()
    with association(peer, local, [verification(), study_root_find(), retrieve]) as assoc:
        offered = accepted_classes(assoc.accepted_contexts)
    return tuple(name for name, sop_class in wanted.items() if sop_class not in offered)


def move_series(peer: Peer, local: LocalEntity, study_uid: str, series_uid: str) -> Retrieved:
    """Have `peer` send a series to our listener, by C-MOVE to our own AE title.

    Raises
    ------
    PeerUnavailable
        No association, no C-MOVE, or it failed; in words an administrator can act on.
    """

    def ask(assoc: Association) -> Responses:
        return cast(Responses, assoc.send_c_move(_keys(study_uid, series_uid), local.ae_title, STUDY_ROOT_MOVE))

    return _retrieve(peer, local, "C-MOVE", [study_root_move()], ask)


def get_series(
    peer: Peer,
    local: LocalEntity,
    study_uid: str,
    series_uid: str,
    *,
    receive: Receive,
    on_ended: Callable[[str], None] = lambda _: None,
) -> Retrieved:
    """Take a series from `peer` on an association of ours, by C-GET.

    Parameters
    ----------
    receive, on_ended
        As of `service.network.storage_scp.storage_listener`.

    Raises
    ------
    PeerUnavailable
        No association, no C-GET, or it failed; in words an administrator can act on.
    """
    name = next(_names)

    def store(event: evt.Event) -> int:
        request = event.request
        return receive(
            ReceivedInstance(
                encoded_dataset=event.encoded_dataset(include_meta=False),
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                calling_ae=peer.ae_title,
                calling_address=peer.host,
                association=name,
            )
        )

    def ask(assoc: Association) -> Responses:
        return cast(Responses, assoc.send_c_get(_keys(study_uid, series_uid), STUDY_ROOT_GET))

    contexts, handlers = [study_root_get(), *offered_images()], [(evt.EVT_C_STORE, store)]
    try:
        return _retrieve(peer, local, "C-GET", contexts, ask, handlers=handlers, roles=_as_receiver())
    finally:
        on_ended(name)


def _retrieve(
    peer: Peer,
    local: LocalEntity,
    service: str,
    contexts: Sequence[PresentationContext],
    ask: Callable[[Association], Responses],
    *,
    handlers: Sequence[Handler] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Retrieved:
    patient = replace(local, dimse_timeout_s=max(local.dimse_timeout_s, _BETWEEN_ANSWERS_S))
    try:
        with association(peer, patient, [*contexts, verification()], handlers, roles=roles) as assoc:
            return _done(responses(lambda: ask(assoc)), peer, local)
    except (NothingInCommon, ValueError) as fault:
        raise PeerUnavailable(f"{peer.name}: offers no {service} in the Study Root model") from fault


def _as_receiver() -> list[SCP_SCU_RoleSelectionNegotiation]:
    """For storage, we are the SCP on an association that we requested (PS3.7 D.3.3.4)."""
    roles = []
    for sop_class in MR_IMAGES:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = sop_class, False, True
        roles.append(role)
    return roles


def _keys(study_uid: str, series_uid: str) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "SERIES"
    keys.StudyInstanceUID = study_uid
    keys.SeriesInstanceUID = series_uid
    return keys


def _done(responses: Responses, peer: Peer, local: LocalEntity) -> Retrieved:
    last = Dataset()
    for status, _ in responses:
        last = status
    if "Status" not in last:
        raise PeerUnavailable(f"{peer.name}: the retrieval was not answered to its end")
    if last.Status == statuses.MOVE_DESTINATION_UNKNOWN:
        raise PeerUnavailable(
            f"{peer.name}: does not know the AE title {local.ae_title}; enter it there, with this machine's address "
            "and the listener's port"
        )
    retrieved = Retrieved(
        completed=int(last.get("NumberOfCompletedSuboperations") or 0),
        failed=int(last.get("NumberOfFailedSuboperations") or 0),
    )
    if last.Status != statuses.SUCCESS and not retrieved.completed:
        raise PeerUnavailable(f"{peer.name}: the retrieval failed with status {statuses.spell(last.Status)}")
    return retrieved
