"""deploy/orthanc-routing.lua in a real Orthanc: what it forwards to csf24, and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from service.network.storage_scp import storage_listener
from tests.builders.dcmtk import storescu
from tests.builders.network import Inbox, settings, write_series
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.programs import free_ports, needs, wait_until

pytestmark = [
    needs("Orthanc"),
    needs("storescu"),
    pytest.mark.needs_orthanc,
    pytest.mark.needs_dcmtk,
    pytest.mark.xdist_group("orthanc"),
]
SCRIPT = Path(__file__).parents[3] / "deploy" / "orthanc-routing.lua"
SCANNER, CSF24 = "SCANNER", "CSF24"


@pytest.fixture
def inbox() -> Inbox:
    """What csf24's listener gets."""
    return Inbox()


@pytest.fixture
def orthanc(inbox: Inbox) -> Iterator[Orthanc]:
    """With the script, and csf24's listener as the modality that it names."""
    (port,) = free_ports()
    listener = storage_listener(settings(port=port), receive=inbox, admit=lambda _: None, on_commitment=lambda _: 0)
    listener.start()
    modalities = {"csf24": Modality(ae_title=CSF24, port=port), "scanner": Modality(ae_title=SCANNER, port=4)}
    try:
        with Orthanc(modalities, options={"LuaScripts": [str(SCRIPT)]}) as server:
            yield server
    finally:
        listener.stop()


def _send(orthanc: Orthanc, files: list[Path], *, calling: str = SCANNER) -> None:
    done = storescu(orthanc.dicom_port, files, calling=calling, called=orthanc.ae_title)
    assert done.status == 0 and "Store Failed" not in done.text, done.text


def _stable_series(orthanc: Orthanc) -> int:
    changes = orthanc.json("changes?limit=1000")
    assert isinstance(changes, dict)
    return sum(change["ChangeType"] == "StableSeries" for change in changes["Changes"])


def _changed(files: list[Path], change: Callable[[Dataset], None]) -> list[Path]:
    for path in files:
        dataset = dcmread(path)
        change(dataset)
        dataset.save_as(path, enforce_file_format=True)
    return files


def _as_prediction(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality, dataset.ImageType = "OT", ["DERIVED", "SECONDARY", "OTHER", "PREDICTED_24H"]


def _as_derived(dataset: Dataset) -> None:
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER", "PREDICTED_24H"]


def _as_stack_of_slices(dataset: Dataset) -> None:
    dataset.MRAcquisitionType = "2D"


def _as_spin_echo(dataset: Dataset) -> None:
    dataset.ScanningSequence = ["SE", "IR"]


def _as_late_echo(dataset: Dataset) -> None:
    dataset.EchoTime = "20"


OTHERS = {
    "prediction": _as_prediction,
    "derived": _as_derived,
    "2D": _as_stack_of_slices,
    "spin echo": _as_spin_echo,
    "late echo": _as_late_echo,
}


def test_a_t1_series_is_forwarded_and_everything_else_stays(orthanc: Orthanc, inbox: Inbox, tmp_path: Path) -> None:
    for name, change in OTHERS.items():
        _send(orthanc, _changed(write_series(tmp_path / name, 2, key=name), change))
    _send(orthanc, write_series(tmp_path / "ours", 2, key="ours"), calling=CSF24)
    wait_until(lambda: _stable_series(orthanc) == len(OTHERS) + 1, timeout_s=20)

    # Scripts see the changes in order, so the others were judged before this one.
    series = write_series(tmp_path / "t1", 3, key="t1")
    _send(orthanc, series)
    wait_until(lambda: len(inbox.instances) >= len(series), timeout_s=30)
    wanted = {str(dcmread(path).SOPInstanceUID) for path in series}
    assert {instance.sop_instance_uid for instance in inbox.instances} == wanted
    assert {instance.calling_ae for instance in inbox.instances} == {orthanc.ae_title}
    jobs = orthanc.json("jobs")
    assert isinstance(jobs, list)
    assert len(jobs) == 1  # one association for the series, and none for anything else


def test_a_header_that_tells_nothing_is_left_for_csf24_to_judge(orthanc: Orthanc, inbox: Inbox, tmp_path: Path) -> None:
    def silent(dataset: Dataset) -> None:
        for keyword in ("ImageType", "ScanningSequence", "MRAcquisitionType", "EchoTime"):
            delattr(dataset, keyword)

    _send(orthanc, _changed(write_series(tmp_path / "silent", 2, key="silent"), silent))
    wait_until(lambda: len(inbox.instances) == 2, timeout_s=30)
