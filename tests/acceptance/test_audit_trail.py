"""The audit trail of a whole service, and its ordinary log beside it, in which no patient is named."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.uid import MRImageStorage

from service.network.peers import LocalEntity
from service.network.storage_scu import store
from tests.builders import dcmtk
from tests.builders.hostile import hostile_conversation, p_data, valid_files
from tests.builders.network import LOOPBACK, association_request, outgoing, peer
from tests.builders.patients import unpack_shipped
from tests.builders.programs import needs, wait_until
from tests.builders.service_process import CALLING, ServiceProcess

pytestmark = [pytest.mark.slow, needs("storescp")]
CANARY = "KANARIENVOGEL"
SETTINGS = '[logging]\nlevel = "debug"\nformat = "json"\n[pairing]\nquiet_seconds = 5\n'


@pytest.fixture
def patient(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """The shipped pair as of a person whose name and number are easily found again."""
    series = unpack_shipped(tmp_path / "patient")
    for path in (*series[0], *series[1]):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = f"{CANARY}^NAME", f"{CANARY}-ID"
        dataset.save_as(path)
    return series


@pytest.fixture
def syslog() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repository:
        repository.bind((LOOPBACK, 0))
        repository.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        repository.settimeout(5)
        yield repository


def seen(trail: Path) -> list[tuple[str | None, str | None, list[str | None]]]:
    """Event ID, event type and participants' identifiers of every message."""
    found = []
    for line in trail.read_text(encoding="utf-8").splitlines():
        root = ElementTree.fromstring(line)
        kind = root.find("EventIdentification/EventTypeCode")
        found.append(
            (
                root.find("EventIdentification/EventID").get("csd-code"),
                None if kind is None else kind.get("csd-code"),
                [item.get("UserID") for item in root.findall("ActiveParticipant")],
            )
        )
    return found


def say(port: int, *messages: bytes) -> None:
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        connection.sendall(association_request(calling=CALLING, sop_class=MRImageStorage))
        connection.recv(4096)
        for message in messages:
            connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def hostile_with_names(port: int) -> None:
    """Messages that name the canary where programs like to quote what they stumble over."""
    canary = CANARY.encode()
    _, stored, _ = hostile_conversation(0, 1)
    named = [content.replace(b"P1", canary[:2]) for content in valid_files()[:1]]
    say(port, p_data(3, canary * 4))
    say(port, p_data(3, b"\0\0\0\1\2\0\0\0" + canary))
    say(port, stored[:200] + canary + stored[200:])
    say(port, b"\4\0" + len(canary).to_bytes(4, "big") + canary)
    say(port, canary, named[0][:100])


def test_a_patient_s_way_is_in_the_trail_and_in_nothing_else(
    tmp_path: Path, patient: tuple[list[Path], list[Path]], syslog: socket.socket
) -> None:
    trail = tmp_path / "audit.xml"
    variables = {
        "CSF24_AUDIT__FILE": str(trail),
        "CSF24_AUDIT__SYSLOG": f"udp://{LOOPBACK}:{syslog.getsockname()[1]}",
        "CSF24_AUDIT__SITE": "Hospital",
    }
    with dcmtk.storescp(tmp_path / "pacs", ae_title="PACS") as pacs:
        service = ServiceProcess(tmp_path, (("PACS", "PACS", pacs),), extra=SETTINGS, environment=variables)
        with service:
            assert dcmtk.echoscu(service.port, calling="STRANGER").status != 0
            hostile_with_names(service.port)
            for paths in patient:
                ours = LocalEntity(ae_title=CALLING)
                assert all(item.accepted for item in store(peer(service.port, "CSF24"), ours, outgoing(paths)))
            wait_until(lambda: [event for event, _, _ in seen(trail)].count("110104") >= 3, timeout_s=150)
            (case,) = service.cases()
            assert service.get(f"/cases/{case.case_id}/preview.png").startswith(b"\x89PNG")
            shown = [service.get(path).decode() for path in ("/", f"/cases/{case.case_id}", "/metrics")]
    events = seen(trail)
    us = re.compile(r"csf24\[\d+\]@")
    assert events[0][:2] == ("110100", "110120") and us.match(events[0][2][0] or "")
    assert events[-1][:2] == ("110100", "110121")
    assert [who[1] for event, _, who in events if event == "110113"] == ["STRANGER"]
    assert [who[0] for event, _, who in events if event == "110104"][:2] == [CALLING, CALLING]
    begun = next(who for event, _, who in events if event == "110102")
    assert us.match(begun[0] or "") and begun[1] == "PACS"
    assert [who[0] for event, _, who in events if event == "110103"] == ["status page"]
    text = trail.read_text(encoding="utf-8")
    assert f'ParticipantObjectID="{CANARY}-ID"' in text
    assert f'NumberOfInstances="{len(patient[0])}"' in text
    assert "^NAME" not in text  # the number is enough
    for place in (service.log(), *shown):
        assert CANARY not in place
    assert "Traceback" not in service.log()
    datagrams = [syslog.recv(65536) for _ in events]
    assert all(datagram.startswith(b"<85>1 ") for datagram in datagrams)
    assert [datagram.partition(b"\xef\xbb\xbf")[2].decode() for datagram in datagrams] == text.splitlines()
