"""C-FIND as a client: which series a peer has of a patient (Study Root, STUDY and SERIES level; PS3.4 C.6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from service.errors import PeerUnavailable
from service.network import statuses
from service.network.association import NothingInCommon, association
from service.network.contexts import STUDY_ROOT_FIND, accepted_classes, study_root_find, verification
from service.network.peers import LocalEntity, Peer
from service.network.query import answers

_WILDCARDS = frozenset("*?\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientSought:
    """Whose series, and between which study dates, both inclusive.

    Attributes
    ----------
    birth_date
        As in the header, YYYYMMDD; a study that states another is another patient's. Empty does not look.
    """

    patient_id: str
    birth_date: str
    earliest: date
    latest: date


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFound:
    """A series as a peer lists it.

    Attributes
    ----------
    instances
        Number of Series Related Instances (0020,1209); None where the peer does not say.
    """

    study_uid: str
    series_uid: str
    description: str
    protocol: str
    instances: int | None


def mr_series_of(peer: Peer, local: LocalEntity, sought: PatientSought) -> tuple[SeriesFound, ...]:
    """MR series of a patient, as far as the peer lists any; the same ones in the same order each time.

    Raises
    ------
    PeerUnavailable
        No association, no C-FIND in the Study Root model, or no whole answer.
    ValueError
        The Patient ID is empty or holds wildcards, with which the peer would list other patients.
    """
    if not sought.patient_id.strip() or _WILDCARDS & set(sought.patient_id):
        raise ValueError("the Patient ID cannot be asked for")
    try:
        with association(peer, local, [study_root_find(), verification()]) as assoc:
            if STUDY_ROOT_FIND not in accepted_classes(assoc.accepted_contexts):
                raise PeerUnavailable(f"{peer.name}: offers no C-FIND in the Study Root model")
            studies = [str(study.StudyInstanceUID) for study in _studies(assoc, peer, sought)]
            found = [item for study in sorted(set(studies)) for item in _series(assoc, peer, study)]
    except NothingInCommon as fault:
        raise PeerUnavailable(f"{peer.name}: offers no C-FIND in the Study Root model") from fault
    return tuple(sorted(found, key=lambda item: (item.study_uid, item.series_uid)))


def _studies(assoc: Association, peer: Peer, sought: PatientSought) -> Iterator[Dataset]:
    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    keys.PatientID = sought.patient_id
    keys.PatientBirthDate = ""
    keys.StudyDate = f"{sought.earliest:%Y%m%d}-{sought.latest:%Y%m%d}"
    keys.StudyInstanceUID = ""
    for match in _matches(assoc, peer, keys):
        # Some peers match without regard to case or blanks.
        if str(match.get("PatientID", "")).strip() != sought.patient_id.strip() or "StudyInstanceUID" not in match:
            continue
        stated = str(match.get("PatientBirthDate", "") or "")
        if not (stated and sought.birth_date and stated != sought.birth_date):
            yield match


def _series(assoc: Association, peer: Peer, study_uid: str) -> Iterator[SeriesFound]:
    keys = Dataset()
    keys.QueryRetrieveLevel = "SERIES"
    keys.StudyInstanceUID = study_uid
    keys.SeriesInstanceUID = ""
    keys.Modality = "MR"
    keys.SeriesDescription = keys.ProtocolName = ""
    keys.NumberOfSeriesRelatedInstances = None
    for match in _matches(assoc, peer, keys):
        if "SeriesInstanceUID" not in match or str(match.get("Modality", "MR")) != "MR":
            continue
        count = match.get("NumberOfSeriesRelatedInstances")
        yield SeriesFound(
            study_uid=study_uid,
            series_uid=str(match.SeriesInstanceUID),
            description=str(match.get("SeriesDescription", "") or ""),
            protocol=str(match.get("ProtocolName", "") or ""),
            instances=None if count in (None, "") else int(count),
        )


def _matches(assoc: Association, peer: Peer, keys: Dataset) -> Iterator[Dataset]:
    for status, match in answers(assoc, keys):
        if "Status" not in status:
            raise PeerUnavailable(f"{peer.name}: no answer to C-FIND")
        if status.Status in statuses.PENDING:
            if match is not None:
                yield match
        elif status.Status != statuses.SUCCESS:
            raise PeerUnavailable(f"{peer.name}: C-FIND failed with status {statuses.spell(status.Status)}")
