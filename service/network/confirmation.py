"""Does a peer really keep what it acknowledged: storage commitment where it offers it, else C-FIND."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import structlog
from pydicom import dcmread
from pydicom.uid import generate_uid

from service.errors import StorageUnavailable
from service.network.commitment import Commitments
from service.network.peers import LocalEntity, Peer
from service.network.query import known_instances
from service.network.storage_scu import OutgoingInstance

CommitmentMode = Literal["auto", "required", "off"]
_log = structlog.get_logger()


def confirm(
    peer: Peer,
    local: LocalEntity,
    objects: Sequence[OutgoingInstance],
    *,
    commitment: CommitmentMode,
    wait_s: float,
    commitments: Commitments,
) -> Mapping[str, bool]:
    """Ask `peer` what it keeps.

    Parameters
    ----------
    commitment
        ``required``: only a storage commitment report counts. ``auto``: where there is none, because the peer does
        not offer it or does not report within `wait_s`, the instances it lists by C-FIND count. ``off``: C-FIND.

    Returns
    -------
    True kept, False not there, by SOP Instance UID; left out where the peer said nothing either way.

    Raises
    ------
    PeerUnavailable
        No association, or the peer stopped answering.
    StorageUnavailable
        A file's series had to be read and could not be.
    """
    answers: dict[str, bool] = {}
    if commitment != "off":
        answers |= dict.fromkeys(commitments.reported_late(peer, [item.sop_instance_uid for item in objects]), True)
        open_ = [item for item in objects if item.sop_instance_uid not in answers]
        if open_:
            reported = commitments.request(peer, local, open_, transaction_uid=generate_uid(prefix=None), wait_s=wait_s)
            if reported is not None:
                return answers | dict(reported)
        if not open_ or commitment == "required":
            return answers
        _log.info("no storage commitment; asking by C-FIND", peer=peer.name)
    return answers | _listed(peer, local, [item for item in objects if item.sop_instance_uid not in answers])


def _listed(peer: Peer, local: LocalEntity, objects: Sequence[OutgoingInstance]) -> dict[str, bool]:
    series: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in objects:
        series[_series_of(item)].append(item.sop_instance_uid)
    answers: dict[str, bool] = {}
    for (study_uid, series_uid), uids in series.items():
        known = known_instances(peer, local, study_uid, series_uid)
        if known is not None:
            answers |= {uid: uid in known for uid in uids}
    return answers


def _series_of(item: OutgoingInstance) -> tuple[str, str]:
    """(Study, series) Instance UID."""
    if item.study_instance_uid and item.series_instance_uid:
        return item.study_instance_uid, item.series_instance_uid
    try:
        header = dcmread(item.path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"], stop_before_pixels=True)
    except OSError as fault:
        raise StorageUnavailable(f"{item.path.name} cannot be read ({fault.strerror})") from fault
    return str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
