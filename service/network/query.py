"""C-FIND as a client: which instances of a series does a peer have (Study Root, IMAGE level; PS3.4 C.6.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import structlog
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from service.errors import PeerUnavailable
from service.network import statuses
from service.network.association import NothingInCommon, association
from service.network.contexts import STUDY_ROOT_FIND, accepted_classes, study_root_find, verification
from service.network.peers import LocalEntity, Peer

Responses: TypeAlias = Iterator[tuple[Dataset, Dataset | None]]
"""Status, and identifier where there is one."""
_log = structlog.get_logger()


def count_instances(peer: Peer, local: LocalEntity, study_uid: str, series_uid: str) -> int | None:
    """How many instances of a series the peer lists; None where it does not say. See `known_instances`."""
    known = known_instances(peer, local, study_uid, series_uid)
    return None if known is None else len(known)


def known_instances(peer: Peer, local: LocalEntity, study_uid: str, series_uid: str) -> frozenset[str] | None:
    """SOP Instance UIDs that the peer lists for a series.

    Returns
    -------
    None when it offers no C-FIND in the Study Root model, or answers with a failure: neither says anything about
    what it has.

    Raises
    ------
    PeerUnavailable
        No association, or no answer.
    """
    try:
        with association(peer, local, [study_root_find(), verification()]) as assoc:
            if STUDY_ROOT_FIND not in accepted_classes(assoc.accepted_contexts):
                return None
            return _ask(assoc, peer, _keys(study_uid, series_uid))
    except NothingInCommon:
        return None


def _keys(study_uid: str, series_uid: str) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID = study_uid
    keys.SeriesInstanceUID = series_uid
    keys.SOPInstanceUID = ""
    return keys


def _ask(assoc: Association, peer: Peer, keys: Dataset) -> frozenset[str] | None:
    listed: set[str] = set()
    for status, match in answers(assoc, keys):
        if "Status" not in status:
            raise PeerUnavailable(f"{peer.name}: no answer to C-FIND")
        if status.Status in statuses.PENDING:
            if match is not None and "SOPInstanceUID" in match:
                listed.add(str(match.SOPInstanceUID))
        elif status.Status != statuses.SUCCESS:
            _log.warning("C-FIND failed", peer=peer.name, status=statuses.spell(status.Status))
            return None
    return frozenset(listed)


def answers(assoc: Association, keys: Dataset) -> Responses:
    """To a C-FIND in the Study Root model."""
    return responses(lambda: assoc.send_c_find(keys, STUDY_ROOT_FIND))


def responses(ask: Callable[[], Responses]) -> Responses:
    """The library's generator; its own failure to send counts as no answer, which is an empty status."""
    try:
        yield from ask()
    except RuntimeError:  # the association ended just now
        yield Dataset(), None
