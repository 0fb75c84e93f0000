"""csf24 serve as an operating system sees it: how it starts, what it refuses, how it ends, and what it writes."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from service.cases import CaseOutcome, CaseState
from service.network.peers import LocalEntity
from service.network.storage_scu import store
from tests.builders import dcmtk
from tests.builders.dicom import make_uid
from tests.builders.network import outgoing, peer, write_series
from tests.builders.patients import unpack_shipped
from tests.builders.programs import free_ports, needs
from tests.builders.service_process import CALLING, REPOSITORY, ServiceProcess, csf24

pytestmark = pytest.mark.slow
CANARY = "KANARIENVOGEL"
TALKATIVE = '[logging]\nlevel = "debug"\nformat = "json"\n[pairing]\nquiet_seconds = 5\n'
STOPS_WITHIN_S = 10.0
"""What container engines wait before they kill."""


@pytest.fixture
def patient(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """The shipped pair as of a person whose name and numbers are easily found again."""
    series = unpack_shipped(tmp_path / "patient")
    for path in (*series[0], *series[1]):
        dataset = pydicom.dcmread(path)
        dataset.PatientName = f"{CANARY}^NAME"
        dataset.PatientID = f"{CANARY}-ID"
        dataset.OtherPatientIDs = f"{CANARY}-OTHER"
        dataset.PatientBirthDate = "19531122"
        dataset.AccessionNumber = f"{CANARY}-A"
        dataset.ReferringPhysicianName = f"{CANARY}^DOCTOR"
        dataset.StudyDescription = f"{CANARY} STUDY"
        dataset.PatientComments = f"{CANARY} COMMENT"
        dataset.InstitutionName = f"{CANARY} HOSPITAL"
        dataset.save_as(path)
    return series


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """At the most talkative level."""
    made = ServiceProcess(tmp_path, extra=TALKATIVE)
    yield made
    made.stop()


def send(service: ServiceProcess, *series: list[Path]) -> None:
    there, ours = peer(service.port, "CSF24"), LocalEntity(ae_title=CALLING)
    for paths in series:
        assert all(result.accepted for result in store(there, ours, outgoing(paths)))


def spoilt(series: list[Path], folder: Path) -> list[Path]:
    """Much of the series as another patient's, undated, and an instance that names another UID than its request."""
    folder.mkdir()
    written = []
    with pydicom.config.disable_value_validation():
        for number, path in enumerate(series[:70]):
            dataset = pydicom.dcmread(path)
            uid = make_uid("spoilt", number)
            dataset.PatientID = f"{CANARY}-2"
            dataset.SeriesInstanceUID = make_uid("spoilt")
            dataset.SOPInstanceUID = uid if number else make_uid("another")
            dataset.file_meta.MediaStorageSOPInstanceUID = uid
            for keyword in ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "SeriesDate", "AcquisitionTime"):
                dataset.pop(keyword, None)
            dataset.ContentTime = dataset.SeriesTime = CANARY
            dataset.PatientBirthDate = CANARY
            written.append(folder / f"{number}.dcm")
            dataset.save_as(written[-1])
    return written


def texts_of_the_ledger(service: ServiceProcess) -> str:
    """Everything that the ledger says in words: reasons, histories, rejections, answers of peers."""
    ledger = service.ledger()
    try:
        cases = ledger.cases.cases()
        events = [ledger.cases.events(case.case_id) for case in cases]
        deliveries = [ledger.deliveries.of(case.case_id, case.revision) for case in cases]
        return repr([[case.reasons for case in cases], events, deliveries, ledger.instances.rejected()])
    finally:
        ledger.close()


def test_a_service_told_to_end_in_a_conversion_ends_at_once_and_does_it_at_the_next_start(
    service: ServiceProcess, patient: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    """And what it says on the way, at the debug level, on the page and in the ledger, has nothing of the patient."""
    service.start()
    odd = store(
        peer(service.port, "CSF24"), LocalEntity(ae_title=CALLING), outgoing(spoilt(patient[1], tmp_path / "s"))
    )
    assert [result.accepted for result in odd].count(False) == 1
    send(service, *patient)
    service.await_cases(lambda cases: CaseState.RUNNING in [case.state for case in cases], timeout_s=60)
    time.sleep(1)
    started = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - started < STOPS_WITHIN_S
    # The step was given up, and is no failure.
    assert {case.state for case in service.cases()} <= {CaseState.RUNNING, CaseState.HELD}
    log = service.log()
    assert "a step was given up; it runs again at the next start, or elsewhere" in log
    assert '"event": "stopped"' in log

    service.start()
    held, case = sorted(service.await_settled(2), key=lambda case: case.state is CaseState.DONE)
    assert [reason.code for reason in held.reasons] == ["ACQUISITION_TIME_MISSING"]
    assert (case.outcome, case.revision) == (CaseOutcome.PREDICTED, 1)
    seen = [
        service.log(),
        service.get("/").decode(),
        service.get(f"/cases/{case.case_id}").decode(),
        service.get("/metrics").decode(),
        texts_of_the_ledger(service),
        service.csf24("cases", "list", "--json").stdout,
        service.csf24("cases", "show", case.case_id).stdout,
    ]
    started = time.monotonic()
    assert service.stop() == 0  # without work in hand it closes everything
    assert time.monotonic() - started < STOPS_WITHIN_S
    assert list((service.data / "spool" / "incoming").iterdir()) == []
    assert "UID_MISMATCH" in seen[0] and "UID_MISMATCH" in seen[4]
    assert held.case_id in seen[1] and 'csf24_cases{state="held"} 1' in seen[3]
    for text in (*seen, service.log()):
        assert not re.search(rf"{CANARY}|19531122|1953-11-22", text)
    assert CANARY.encode() in b"".join(path.read_bytes() for path in service.data.glob("spool/objects/*/*.dcm"))


def test_two_services_share_a_data_folder_as_two_workers(service: ServiceProcess, tmp_path: Path) -> None:
    service.start()
    (tmp_path / "second").mkdir()
    second = ServiceProcess(tmp_path / "second")
    second.config.write_text(second.config.read_text().replace(str(second.data), str(service.data)))
    second.start()
    try:
        assert json.loads(service.get("/readyz")) == json.loads(second.get("/readyz")) == {"ready": True, "reasons": []}
        (first_id,) = re.findall(r'"executor": "([^"]+)"', service.log())
        (second_id,) = re.findall(r"executor=(\S+)", second.log())
        assert first_id.rpartition("-")[0] == second_id.rpartition("-")[0]
        assert {first_id[-2:], second_id[-2:]} == {"-0", "-1"}
    finally:
        assert second.stop() == 0


@needs("echoscu")
def test_what_is_refused_at_the_door_is_answered_logged_and_counted(tmp_path: Path) -> None:
    variables = {
        "CSF24_LISTENER__CALLING_ADDRESSES": "DCMTK=127.0.0.0/8,OTHER=10.0.0.1",
        "CSF24_LISTENER__CALLING_AE_TITLES": "DCMTK,OTHER",
        "CSF24_LISTENER__MAX_INSTANCE_MB": "1",
    }
    with ServiceProcess(tmp_path, extra=TALKATIVE, environment=variables) as service:
        assert "Calling AE Title Not Recognized" in dcmtk.echoscu(service.port, calling="STRANGER").text
        assert "Calling AE Title Not Recognized" in dcmtk.echoscu(service.port, calling="OTHER").text
        assert "Called AE Title Not Recognized" in dcmtk.echoscu(service.port, called="ELSEWHERE").text
        large = write_series(tmp_path / "large", 1, size=1024)
        assert "0xa700" in dcmtk.storescu(service.port, large, "-d").text.lower()
        with socket.create_connection(("127.0.0.1", service.port)) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert browser.recv(1) == b"\x07"
        metrics = service.get("/metrics").decode()
        logged = [json.loads(line) for line in service.log().splitlines()]
    for what, reason in (
        ("association", "calling_ae_title_not_recognised"),
        ("association", "calling_address_not_recognised"),
        ("association", "called_ae_title_not_recognised"),
        ("data", "instance_too_large"),
        ("connection", "not_dicom"),
    ):
        assert f'csf24_refused_total{{reason="{reason}",what="{what}"}} 1.0' in metrics
        assert [line["address"] for line in logged if line.get("why") == reason.upper()] == ["127.0.0.1"]
    assert 'reason="too_frequent",what="association"} 0.0' in metrics


@pytest.mark.parametrize("taken", ["listener", "status_page"])
def test_a_port_in_use_is_one_line_with_status_2_before_anything_is_touched(tmp_path: Path, taken: str) -> None:
    ports = dict(zip(("listener", "status_page"), free_ports(2), strict=True))
    config = tmp_path / "csf24.toml"
    config.write_text("".join(f"[{section}]\nport = {port}\n" for section, port in ports.items()))
    with socket.create_server(("127.0.0.1", ports[taken])):
        ended = csf24("serve", "--config", str(config), cwd=tmp_path, timeout_s=30)
    assert ended.returncode == 2
    assert f"{taken}.port: found {ports[taken]} at 127.0.0.1: another program listens there" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["csf24.toml"]


def test_a_broken_configuration_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    config = tmp_path / "csf24.toml"
    config.write_text('[listener]\nprot = 1\nhost = "0.0.0.0"\n[models]\ndefault = ""\n')
    ended = csf24("serve", "--config", str(config), cwd=tmp_path, timeout_s=30)
    assert ended.returncode == 2
    for key in ("listener.prot: unknown key", "listener.calling_ae_titles: found none", "models.default: found ''"):
        assert key in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["csf24.toml"]


HEAVY = {"numpy", "pydicom", "pynetdicom", "SimpleITK", "onnxruntime", "sqlalchemy", "dbos", "starlette", "torch"}
LISTS_MODULES = """
import sys
sys.argv = ["csf24", "--help"]
from service.cli import main
try:
    main()
finally:
    print("MODULES", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_help_is_quick_since_it_loads_nothing_that_works(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LISTS_MODULES]
    took = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True
        )
        took.append(time.monotonic() - started)
    assert "serve" in done.stdout and "doctor" in done.stdout
    loaded = set(done.stderr.partition("MODULES")[2].split())
    assert "typer" in loaded
    assert not HEAVY & loaded
    assert min(took) < 1.0
