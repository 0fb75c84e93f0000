"""From what happens in the service to events of the audit trail; part of the composition root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from pydicom import dcmread

from service.config import Config
from service.config.values import split_syslog_address
from service.dicom.records import InstanceHeader
from service.errors import ConfigError
from service.jobs.results import ResultObject
from service.monitoring.access import Viewing
from service.monitoring.audit import events
from service.monitoring.audit.events import Participant, Study
from service.monitoring.audit.message import AuditSource
from service.monitoring.audit.syslog import Sender, SyslogAddress, SyslogConnection
from service.monitoring.audit.trail import AuditTrail
from service.network.peers import Peer
from service.network.requests import Refusal, Rejection, TurnedAway
from service.network.storage_scp import ReceivedInstance
from service.network.tls import client_context

_STRANGERS = (
    TurnedAway.HANDSHAKE_FAILED,
    Rejection.CALLING_AE_TITLE_NOT_RECOGNISED,
    Rejection.CALLING_ADDRESS_NOT_RECOGNISED,
    Rejection.CALLED_AE_TITLE_NOT_RECOGNISED,
)
_ALERT_AGAIN = timedelta(minutes=1)
_MOST_STRANGERS = 1000
_Patient = tuple[str, str]
"""Patient ID and Study Instance UID."""


class Auditor:
    """Reports to the audit trail; without one configured it does nothing. Any number of threads may call it.

    Raises
    ------
    ConfigError
        TLS files cannot be used; from `start`, the file cannot be written.
    """

    def __init__(self, config: Config, *, host: str, process_id: int, now: Callable[[], datetime]) -> None:
        audit, tls = config.audit, config.tls
        self._now = now
        self._us = Participant(
            user_id=f"csf24[{process_id}]@{host}",
            requestor=False,
            role=events.APPLICATION,
            ae_title=config.listener.ae_title,
            address=host,
        )
        self._lock = Lock()
        self._received: dict[str, dict[_Patient, Counter[str]]] = {}
        self._senders: dict[str, Participant] = {}
        self._alerted: dict[tuple[str, object], datetime] = {}
        self._file = audit.file
        self._trail: AuditTrail | None = None
        if audit.file is None and not audit.syslog:
            return
        connection = None
        if audit.syslog:
            transport, syslog_host, port = split_syslog_address(audit.syslog)
            context = None
            if transport == "tls":
                context = client_context(
                    trusted=tls.trusted, certificate=tls.certificate, key=tls.key, minimum_version=tls.minimum_version
                )
            connection = SyslogConnection(SyslogAddress(transport=transport, host=syslog_host, port=port), tls=context)
        self._trail = AuditTrail(
            AuditSource(source_id=audit.source, site=audit.site),
            file=audit.file,
            syslog=connection,
            sender=Sender(host=host, application="csf24", process_id=str(process_id)),
        )

    @property
    def lost(self) -> int:
        """Messages that were lost."""
        return self._trail.lost if self._trail else 0

    def start(self) -> None:
        """Begin, with Application Start."""
        if self._trail is None:
            return
        try:
            self._trail.start()
        except OSError as fault:
            raise ConfigError(
                [f"audit.file: found {str(self._file)!r}: {fault.strerror}; accepted: a file that can be written"]
            ) from fault
        self._trail.record(events.application(self._now(), self._us, starts=True))

    def stop(self, wait_s: float) -> None:
        """Application Stop, and what still waits."""
        if self._trail is None:
            return
        for association in tuple(self._received):
            self.association_ended(association)
        self._trail.record(events.application(self._now(), self._us, starts=False))
        self._trail.stop(wait_s)

    def instance_received(self, received: ReceivedInstance, header: InstanceHeader) -> None:
        """Count it; one message goes out for each patient once the association has ended."""
        if self._trail is None:
            return
        with self._lock:
            counted = self._received.setdefault(received.association, {})
            counted.setdefault((header.patient_id, header.study_instance_uid), Counter())[header.sop_class_uid] += 1
            self._senders[received.association] = _peer(received.calling_ae, received.calling_address)

    def association_ended(self, association: str) -> None:
        """DICOM Instances Transferred, of the receiver."""
        with self._lock:
            counted = self._received.pop(association, {})
            sender = self._senders.pop(association, None)
        if self._trail is None or sender is None:
            return
        for patient_id in dict.fromkeys(patient for patient, _ in counted):
            studies = tuple(
                Study(uid=uid, instances=number) for (patient, uid), number in counted.items() if patient == patient_id
            )
            self._trail.record(
                events.transferred(
                    self._now(),
                    _as(sender, events.SOURCE, requestor=True),
                    _as(self._us, events.DESTINATION),
                    patient_id=patient_id,
                    studies=studies,
                )
            )

    def refused(self, refusal: Refusal) -> None:
        """Security Alert for who is not who may call; at most one a minute for an address and reason."""
        if self._trail is None or refusal.why not in _STRANGERS:
            return
        now, key = self._now(), (refusal.address, refusal.why)
        with self._lock:
            if now - self._alerted.get(key, now - _ALERT_AGAIN) < _ALERT_AGAIN:
                return
            if len(self._alerted) >= _MOST_STRANGERS:
                self._alerted.clear()
            self._alerted[key] = now
        peer = _peer(refusal.calling_ae, refusal.address)
        self._trail.record(
            events.node_refused(now, self._us, _as(peer, None, requestor=True), refusal.why.name.lower())
        )

    def sending(self, peer: Peer, objects: Sequence[ResultObject]) -> None:
        """Begin Transferring DICOM Instances."""
        if self._trail is None or not objects:
            return
        patient_id, study = _of(objects)
        self._trail.record(
            events.begin_transferring(
                self._now(),
                _as(self._us, events.SOURCE, requestor=True),
                _as(_peer(peer.ae_title, peer.host), events.DESTINATION),
                patient_id=patient_id,
                studies=(study,),
            )
        )

    def sent(self, peer: Peer, objects: Sequence[ResultObject], *, failed: str = "") -> None:
        """DICOM Instances Transferred, of the sender; `failed` says that these were not, and why."""
        if self._trail is None or not objects:
            return
        patient_id, study = _of(objects)
        self._trail.record(
            events.transferred(
                self._now(),
                _as(self._us, events.SOURCE, requestor=True),
                _as(_peer(peer.ae_title, peer.host), events.DESTINATION),
                patient_id=patient_id,
                studies=(study,),
                failed=failed,
            )
        )

    def picture_seen(self, header: InstanceHeader | None, seen: Viewing) -> None:
        """DICOM Instances Accessed: the status page showed a picture of the patient; without log-in to nobody named."""
        if self._trail is None or header is None:
            return
        viewer = Participant(user_id=seen.user or "status page", requestor=True, address=seen.address)
        study = Study(uid=header.study_instance_uid)
        self._trail.record(events.accessed(self._now(), self._us, viewer, patient_id=header.patient_id, study=study))


def _peer(ae_title: str, address: str) -> Participant:
    return Participant(user_id=ae_title or "unknown", requestor=False, ae_title=ae_title, address=address)


def _as(who: Participant, role: events.Code | None, *, requestor: bool = False) -> Participant:
    return replace(who, role=role, requestor=requestor)


def _of(objects: Sequence[ResultObject]) -> tuple[str, Study]:
    """Patient ID and study of the results of one case, which all have the same; empty where they cannot be read."""
    counted = Counter(item.sop_class_uid for item in objects)
    path: Path = objects[0].path
    try:
        header = dcmread(path, specific_tags=["PatientID", "StudyInstanceUID"], stop_before_pixels=True)
    except OSError:  # sending it will say so
        return "", Study(uid="", instances=counted)
    return str(header.get("PatientID", "")), Study(uid=str(header.get("StudyInstanceUID", "")), instances=counted)
