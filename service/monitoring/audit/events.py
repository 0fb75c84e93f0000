"""What is recorded, in the terms of PS3.15 A.5.3; plain records that the app fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded value (PS3.15 A.5.1, ``CodedValueType``)."""

    value: str
    meaning: str
    scheme: str = "DCM"


class Outcome(Enum):
    """Event Outcome Indicator."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A system that took part.

    Attributes
    ----------
    user_id
        Of a process or, for a peer, its AE title.
    address
        IP address or host name.
    """

    user_id: str
    requestor: bool
    role: Code | None = None
    ae_title: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study, or some of its instances.

    Attributes
    ----------
    instances
        How many of each SOP class.
    """

    uid: str
    instances: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One message; it concerns one patient at most.

    Attributes
    ----------
    action
        C, R, U, D or E (PS3.15 table A.5.2-1).
    node
        The peer that an alert is about.
    """

    id: Code
    action: str
    at: datetime
    outcome: Outcome
    participants: tuple[Participant, ...]
    type: Code | None = None
    description: str = ""
    studies: tuple[Study, ...] = ()
    patient_id: str | None = None
    node: str = ""


APPLICATION = Code(value="110150", meaning="Application")
SOURCE = Code(value="110153", meaning="Source Role ID")
DESTINATION = Code(value="110152", meaning="Destination Role ID")
_START = Code(value="110120", meaning="Application Start")
_STOP = Code(value="110121", meaning="Application Stop")
_NODE_AUTHENTICATION = Code(value="110126", meaning="Node Authentication")


def application(at: datetime, us: Participant, *, starts: bool) -> AuditEvent:
    """Application Activity (A.5.3.1)."""
    return AuditEvent(
        id=Code(value="110100", meaning="Application Activity"),
        type=_START if starts else _STOP,
        action="E",
        at=at,
        outcome=Outcome.SUCCESS,
        participants=(us,),
    )


def node_refused(at: datetime, us: Participant, peer: Participant, why: str) -> AuditEvent:
    """Security Alert, node authentication (A.5.3.11): TLS failed, or AE title or address may not call."""
    return AuditEvent(
        id=Code(value="110113", meaning="Security Alert"),
        type=_NODE_AUTHENTICATION,
        action="E",
        at=at,
        outcome=Outcome.MINOR_FAILURE,
        description=why,
        participants=(us, peer),
        node=peer.address,
    )


def begin_transferring(
    at: datetime, source: Participant, destination: Participant, *, patient_id: str, studies: tuple[Study, ...]
) -> AuditEvent:
    """Begin Transferring DICOM Instances (A.5.3.3), of who sends."""
    return AuditEvent(
        id=Code(value="110102", meaning="Begin Transferring DICOM Instances"),
        action="E",
        at=at,
        outcome=Outcome.SUCCESS,
        participants=(source, destination),
        studies=studies,
        patient_id=patient_id,
    )


def transferred(
    at: datetime,
    source: Participant,
    destination: Participant,
    *,
    patient_id: str,
    studies: tuple[Study, ...],
    failed: str = "",
) -> AuditEvent:
    """DICOM Instances Transferred (A.5.3.7), of who sends and of who receives; C: to where they were not before."""
    return AuditEvent(
        id=Code(value="110104", meaning="DICOM Instances Transferred"),
        action="C",
        at=at,
        outcome=Outcome.MINOR_FAILURE if failed else Outcome.SUCCESS,
        description=failed,
        participants=(source, destination),
        studies=studies,
        patient_id=patient_id,
    )


def accessed(at: datetime, us: Participant, viewer: Participant, *, patient_id: str, study: Study) -> AuditEvent:
    """DICOM Instances Accessed (A.5.3.6): somebody looked at a picture."""
    return AuditEvent(
        id=Code(value="110103", meaning="DICOM Instances Accessed"),
        action="R",
        at=at,
        outcome=Outcome.SUCCESS,
        participants=(viewer, us),
        studies=(study,),
        patient_id=patient_id,
    )
