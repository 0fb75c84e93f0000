"""Audit messages: the XML is held against the tables of PS3.15 A.5, the transport against sockets that are not ours."""

from __future__ import annotations

import re
import socket
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import pytest

from service.monitoring.audit import events
from service.monitoring.audit.events import APPLICATION, AuditEvent, Participant, Study
from service.monitoring.audit.message import AuditSource, render
from service.monitoring.audit.syslog import Sender, SyslogAddress, SyslogConnection, frame
from service.monitoring.audit.trail import AuditTrail
from service.network.tls import client_context
from tests.builders.network import LOOPBACK, make_certificates
from tests.builders.programs import free_ports, needs, required, wait_until

AT = datetime(2026, 3, 4, 10, 30, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
US = Participant(user_id="csf24[7]@h", requestor=False, role=APPLICATION, ae_title="CSF24", address="csf24.example")
PACS = Participant(user_id="PACS", requestor=True, role=events.SOURCE, ae_title="PACS", address="10.1.2.3")
STUDIES = (Study(uid="1.2.3", instances={"1.2.840.10008.5.1.4.1.1.4": 160}), Study(uid="1.2.4"))
SOURCE = AuditSource(source_id="csf24-1", site="Hospital")
SENDER = Sender(host="host", application="csf24", process_id="7")
EVERY = {
    "start": events.application(AT, US, starts=True),
    "stop": events.application(AT, US, starts=False),
    "node refused": events.node_refused(AT, US, PACS, "handshake_failed"),
    "begin": events.begin_transferring(AT, US, PACS, patient_id="P1", studies=STUDIES),
    "transferred": events.transferred(AT, PACS, US, patient_id="P1", studies=STUDIES),
    "not transferred": events.transferred(AT, US, PACS, patient_id="P1", studies=STUDIES, failed="not accepted"),
    "accessed": events.accessed(AT, US, PACS, patient_id="P1", study=STUDIES[0]),
}
# PS3.15 A.5.3: event ID, event type, action, outcome, ID types of the participant objects
EXPECTED = {
    "start": ("110100", "110120", "E", "0", []),
    "stop": ("110100", "110121", "E", "0", []),
    "node refused": ("110113", "110126", "E", "4", ["110182"]),
    "begin": ("110102", None, "E", "0", ["110180", "110180", "2"]),
    "transferred": ("110104", None, "C", "0", ["110180", "110180", "2"]),
    "not transferred": ("110104", None, "C", "4", ["110180", "110180", "2"]),
    "accessed": ("110103", None, "R", "0", ["110180", "2"]),
}


def parse(event: AuditEvent) -> ElementTree.Element:
    return ElementTree.fromstring(render(event, SOURCE))


def code(element: ElementTree.Element | None) -> str | None:
    return None if element is None else element.get("csd-code")


@pytest.mark.parametrize("what", EVERY)
def test_each_event_has_the_codes_that_its_table_asks_for(what):
    root = parse(EVERY[what])
    identification = root.find("EventIdentification")
    assert (
        code(identification.find("EventID")),
        code(identification.find("EventTypeCode")),
        identification.get("EventActionCode"),
        identification.get("EventOutcomeIndicator"),
        [code(item) for item in root.iter("ParticipantObjectIDTypeCode")],
    ) == EXPECTED[what]
    assert identification.get("EventDateTime") == "2026-03-04T09:30:00.250Z"


# PS3.15 A.5.1: elements in this order, with these attributes where they are mandatory
ORDER = {
    "AuditMessage": [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ],
    "EventIdentification": ["EventID", "EventTypeCode", "EventOutcomeDescription"],
    "ActiveParticipant": ["RoleIDCode"],
    "AuditSourceIdentification": ["AuditSourceTypeCode"],
    "ParticipantObjectIdentification": [
        "ParticipantObjectIDTypeCode",
        "ParticipantObjectName",
        "ParticipantObjectDescription",
    ],
    "ParticipantObjectDescription": ["SOPClass"],
}
CODED = {"csd-code", "codeSystemName", "originalText"}
MANDATORY = {
    "EventIdentification": {"EventDateTime", "EventOutcomeIndicator"},
    "ActiveParticipant": {"UserID", "UserIsRequestor"},
    "AuditSourceIdentification": {"AuditSourceID"},
    "ParticipantObjectIdentification": {"ParticipantObjectID"},
    "SOPClass": {"NumberOfInstances"},
    **dict.fromkeys(("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode"), CODED),
}


@pytest.mark.parametrize("what", EVERY)
def test_elements_come_in_the_order_of_the_schema_with_what_is_mandatory(what):
    for element in parse(EVERY[what]).iter():
        names = [child.tag for child in element]
        assert names == sorted(names, key=ORDER.get(element.tag, []).index)
        assert MANDATORY.get(element.tag, set()) <= set(element.attrib)


def test_who_took_part_is_named_with_ae_title_and_kind_of_address():
    theirs, ours = parse(EVERY["transferred"]).findall("ActiveParticipant")
    assert theirs.attrib == {
        "UserID": "PACS",
        "AlternativeUserID": "AETITLES=PACS",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.1.2.3",
        "NetworkAccessPointTypeCode": "2",
    }
    assert ours.get("NetworkAccessPointTypeCode") == "1"
    assert [code(item.find("RoleIDCode")) for item in (theirs, ours)] == ["110153", "110150"]


def test_whatever_an_id_holds_the_message_is_one_line_of_xml():
    hostile = "a\n<b>&\"'\x00\x1b]\ud800"
    text = render(events.transferred(AT, PACS, US, patient_id=hostile, studies=STUDIES), SOURCE)
    assert "\n" not in text
    ids = [item.get("ParticipantObjectID") for item in ElementTree.fromstring(text)]
    assert "a\n<b>&\"'??]?" in ids


# RFC 5424


def test_a_frame_has_the_header_of_rfc_5424():
    sent = frame("<AuditMessage/>", AT, Sender(host="h o\nst", application="", process_id="7"))
    head = b"<85>1 2026-03-04T09:30:00.250Z host - 7 DICOM+RFC3881 - \xef\xbb\xbf<AuditMessage/>"
    assert sent == head


def trail(*, file: Path | None = None, syslog: SyslogConnection | None = None) -> AuditTrail:
    made = AuditTrail(SOURCE, file=file, syslog=syslog, sender=SENDER)
    made.start()
    return made


def connection(transport: str, port: int, **options: object) -> SyslogConnection:
    return SyslogConnection(SyslogAddress(transport=transport, host=LOOPBACK, port=port), **options)  # type: ignore[arg-type]


def test_messages_arrive_by_udp_one_to_a_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repository:
        repository.bind((LOOPBACK, 0))
        repository.settimeout(5)
        kept = trail(syslog=connection("udp", repository.getsockname()[1]))
        kept.record(EVERY["start"])
        kept.record(EVERY["stop"])
        got = [repository.recv(65536) for _ in range(2)]
        kept.stop(5)
    assert [re.search(rb'EventTypeCode csd-code="(\d+)"', item)[1] for item in got] == [b"110120", b"110121"]


def unframe(stream: bytes) -> list[bytes]:
    """Messages of RFC 5425's octet counting."""
    found = []
    while stream:
        count, _, rest = stream.partition(b" ")
        found.append(rest[: int(count)])
        stream = rest[int(count) :]
    return found


@needs("openssl")
def test_messages_arrive_by_tls_at_openssl_s_server(tmp_path):
    made = make_certificates(tmp_path)
    (port,) = free_ports()
    identity = ("-cert", made.server, "-key", made.server_key, "-CAfile", made.authority, "-Verify", "1")
    command = [required("openssl"), "s_server", "-accept", f"{LOOPBACK}:{port}", *map(str, identity), "-quiet"]
    context = client_context(trusted=made.authority, certificate=made.client, key=made.client_key)
    kept = trail(syslog=connection("tls", port, tls=context))
    kept.record(EVERY["begin"])  # nobody listens yet: it waits
    received = tmp_path / "received"
    with received.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        kept.record(EVERY["transferred"])
        wait_until(lambda: received.read_bytes().count(b"</AuditMessage>") == 2, timeout_s=20)
        kept.stop(5)
    finally:
        server.terminate()
        server.communicate(timeout=10)
    messages = unframe(received.read_bytes())
    head = b"<85>1 2026-03-04T09:30:00.250Z host csf24 7 DICOM+RFC3881 - "
    assert [message.startswith(head) for message in messages] == [True, True]
    assert kept.lost == 0


def test_messages_wait_for_a_repository_that_is_down_and_what_is_given_up_is_told(caplog):
    (port,) = free_ports()
    kept = trail(syslog=connection("tcp", port))
    kept.record(EVERY["start"])
    wait_until(lambda: "cannot be reached" in caplog.text or kept._reachable is False)
    assert kept.lost == 0
    kept.stop(2)
    assert kept.lost == 1


# The file


def test_the_file_has_one_message_a_line_and_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "audit.xml"
    kept = trail(file=path)
    for event in EVERY.values():
        kept.record(event)
    kept.stop(1)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [ElementTree.fromstring(line).tag for line in lines] == ["AuditMessage"] * len(EVERY)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_rotated_is_begun_anew(tmp_path):
    path = tmp_path / "audit.xml"
    kept = trail(file=path)
    kept.record(EVERY["start"])
    path.rename(tmp_path / "audit.1.xml")
    kept.record(EVERY["stop"])
    assert len(path.read_text().splitlines()) == len((tmp_path / "audit.1.xml").read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_is_counted_and_harms_nobody(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    kept = trail(file=folder / "audit.xml")
    (folder / "audit.xml").unlink()
    folder.rmdir()
    kept.record(EVERY["start"])
    assert kept.lost == 1
    with pytest.raises(OSError, match="No such file"):
        trail(file=folder / "audit.xml")


def test_times_are_told_in_utc():
    assert 'EventDateTime="2026-03-04T09:30:00.250Z"' in render(EVERY["start"], SOURCE)
    assert AT.astimezone(UTC).hour == 9
