"""The operations manual's restore, done: a copied data directory in another place, and a ledger lost for good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from service.cases import CaseOutcome, CaseState
from service.network.archive import DemoArchive
from service.network.listener import ListenerSettings
from tests.builders.dcmtk import storescu
from tests.builders.patients import unpack_shipped
from tests.builders.programs import needs
from tests.builders.service_process import ServiceProcess

pytestmark = [needs("storescu"), pytest.mark.needs_dcmtk, pytest.mark.slow]
JPEG_LS = ("-xt",)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[DemoArchive]:
    archive = DemoArchive(tmp_path / "pacs", ListenerSettings(ae_title="PACS", port=0))
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture
def service(tmp_path: Path, pacs: DemoArchive) -> Iterator[ServiceProcess]:
    made = ServiceProcess(tmp_path, (("PACS", "PACS", pacs.port),))
    yield made
    made.stop()


def sent(service: ServiceProcess, files: list[Path]) -> None:
    done = storescu(service.port, files, *JPEG_LS)
    assert done.status == 0 and "Store Failed" not in done.text, done.text[-2000:]


def contents(pacs: DemoArchive) -> dict[str, bytes]:
    return {str(pydicom.dcmread(path).SOPInstanceUID): path.read_bytes() for path in pacs.received()}


def test_a_copied_data_directory_goes_on_elsewhere_and_a_lost_ledger_comes_back_from_the_spool(
    service: ServiceProcess, pacs: DemoArchive, tmp_path: Path
) -> None:
    baseline, delayed = unpack_shipped(tmp_path / "patient")
    service.start()
    sent(service, [*baseline, *delayed])
    (before,) = service.await_settled()
    assert (before.state, before.outcome) == (CaseState.DONE, CaseOutcome.PREDICTED)
    delivered = contents(pacs)
    assert service.stop() == 0

    # A copy of the stopped service's directory is a whole backup.
    backup = tmp_path / "backup"
    shutil.copytree(service.data, backup)
    shutil.rmtree(service.data)
    service.move(tmp_path / "restored")
    shutil.copytree(backup, service.data)
    service.start()
    assert service.cases() == (before,)
    history = json.loads(service.csf24("cases", "show", before.case_id, "--json").stdout)["events"]
    assert len(history) > 3
    sent(service, [*baseline, *delayed])  # as a PACS that sends again what it is not sure of
    assert service.await_settled() == (before,)
    assert service.stop() == 0
    assert contents(pacs) == delivered

    # Ledger and queue are lost, the spool is not.
    for path in (*service.data.glob("ledger.sqlite*"), *service.data.glob("queue.sqlite*")):
        path.unlink()
    service.start()
    (again,) = service.await_settled()
    assert (again.case_id, again.state, again.outcome) == (before.case_id, before.state, before.outcome)
    assert again.delivered == again.deliverable == len(baseline)
    assert contents(pacs) == delivered  # nothing twice, nothing other
    assert "result found in the spool" in service.csf24("cases", "show", again.case_id).stdout


def test_without_the_spool_the_ledger_alone_does_not_pretend_to_have_the_images(
    service: ServiceProcess, tmp_path: Path
) -> None:
    baseline, _ = unpack_shipped(tmp_path / "patient")
    service.start()
    sent(service, baseline)
    assert service.stop() == 0
    shutil.rmtree(service.data / "spool")
    service.start()
    sent(service, baseline)  # the only way to have them again
    assert len(list(service.data.glob("spool/objects/*/*.dcm"))) == len(baseline)
