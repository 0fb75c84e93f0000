"""An audit event as the XML of PS3.15 A.5.1, which grew out of RFC 3881."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC
from xml.etree.ElementTree import Element, SubElement, tostring

from service.monitoring.audit.events import AuditEvent, Code, Participant, Study

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2
_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_PERSON, _SYSTEM_OBJECT = "1", "2"
_PATIENT, _REPORT, _SECURITY_RESOURCE = "1", "3", "13"
_STUDY_UID = Code(value="110180", meaning="Study Instance UID")
_PATIENT_NUMBER = Code(value="2", meaning="Patient Number", scheme="RFC-3881")
_NODE_ID = Code(value="110182", meaning="Node ID")
_APPLICATION_SERVER = "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Who reports (Audit Source Identification): `source_id`, at the enterprise site `site`, if it has a name."""

    source_id: str
    site: str = ""


def render(event: AuditEvent, source: AuditSource) -> str:
    """The message, on one line and without an XML declaration."""
    root = Element("AuditMessage")
    _identify(root, event)
    for participant in event.participants:
        _participate(root, participant)
    reported = SubElement(root, "AuditSourceIdentification", _given(AuditEnterpriseSiteID=source.site))
    reported.set("AuditSourceID", _clean(source.source_id))
    SubElement(reported, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    for study in event.studies:
        _study(root, study)
    if event.patient_id is not None:
        _object(root, event.patient_id, _PATIENT_NUMBER, kind=_PERSON, role=_PATIENT)
    if event.node:
        _object(root, event.node, _NODE_ID, kind=_SYSTEM_OBJECT, role=_SECURITY_RESOURCE)
    return tostring(root, encoding="unicode").replace("\n", "&#10;").replace("\r", "&#13;")


def _identify(root: Element, event: AuditEvent) -> None:
    at = event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    attributes = {
        "EventActionCode": event.action,
        "EventDateTime": at,
        "EventOutcomeIndicator": event.outcome.value,
    }
    identification = SubElement(root, "EventIdentification", attributes)
    _code(identification, "EventID", event.id)
    if event.type is not None:
        _code(identification, "EventTypeCode", event.type)
    if event.description:
        SubElement(identification, "EventOutcomeDescription").text = _clean(event.description)


def _participate(root: Element, participant: Participant) -> None:
    attributes = {"UserID": _clean(participant.user_id)}
    if participant.ae_title:
        attributes["AlternativeUserID"] = _clean(f"AETITLES={participant.ae_title}")
    attributes["UserIsRequestor"] = "true" if participant.requestor else "false"
    if participant.address:
        attributes["NetworkAccessPointID"] = _clean(participant.address)
        attributes["NetworkAccessPointTypeCode"] = _kind_of_address(participant.address)
    element = SubElement(root, "ActiveParticipant", attributes)
    if participant.role is not None:
        _code(element, "RoleIDCode", participant.role)


def _study(root: Element, study: Study) -> None:
    element = _object(root, study.uid, _STUDY_UID, kind=_SYSTEM_OBJECT, role=_REPORT)
    description = SubElement(element, "ParticipantObjectDescription")
    for sop_class, number in study.instances.items():
        SubElement(description, "SOPClass", {"UID": _clean(sop_class), "NumberOfInstances": str(number)})


def _object(root: Element, identifier: str, kind_of_id: Code, *, kind: str, role: str) -> Element:
    attributes = {
        "ParticipantObjectID": _clean(identifier),
        "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }
    element = SubElement(root, "ParticipantObjectIdentification", attributes)
    _code(element, "ParticipantObjectIDTypeCode", kind_of_id)
    SubElement(element, "ParticipantObjectName")  # the schema wants one; names of patients are not needed here
    return element


def _code(parent: Element, name: str, code: Code) -> None:
    SubElement(parent, name, {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning})


def _given(**attributes: str) -> dict[str, str]:
    return {name: _clean(value) for name, value in attributes.items() if value}


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("?", text)


def _kind_of_address(address: str) -> str:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS
