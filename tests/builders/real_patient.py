"""The real head as a patient: its own folder, with a delayed series made of its own data sets."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pydicom

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders.dicom import make_uid
from tests.builders.real_head import FOLDER, delayed_from, load_real_head

HOURS = 1.5
_SCANNED, _INJECTED = "152800.00", "135800"
_RESCALE_SLOPE, _SCALE_SLOPE = 1.83150183150183, 0.009137  # the scanner's, chosen anew for each series


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPatient:
    """The folder as an archive exports it: two series, a stray image of a third, a licence and a read-me.

    Attributes
    ----------
    truth
        Baseline -> delayed, LPS mm.
    """

    folder: Path
    baseline: tuple[Path, ...]
    delayed: tuple[Path, ...]
    stray: Path
    truth: RigidTransform


@cache
def real_baseline() -> Volume:
    return load_real_head()


def real_patient(
    folder: Path, angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> RealPatient:
    """Copy the real head's folder; beside it, the head moved, amplified, noisy, with tracer in its cisterns."""
    shutil.copytree(FOLDER, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    datasets = {path: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}
    uids = [str(dataset.SeriesInstanceUID) for dataset in datasets.values()]
    series = max(set(uids), key=uids.count)
    sources = [dataset for dataset in datasets.values() if dataset.SeriesInstanceUID == series]
    (stray,) = (path for path, dataset in datasets.items() if dataset.SeriesInstanceUID != series)
    head = real_baseline()
    truth = RigidTransform.from_euler(angles_deg, shift_mm, head.grid.centre)
    signal = delayed_from(head, truth).array
    stored = np.rint(signal * (4000 / signal.max())).astype("<u2")
    written = [_write(dataset, stored[_plane(dataset, head)], folder / "delayed") for dataset in sources]
    baseline = tuple(path for path in datasets if path != stray)
    return RealPatient(folder=folder, baseline=baseline, delayed=tuple(written), stray=stray, truth=truth)


def _plane(dataset: pydicom.Dataset, head: Volume) -> int:
    return round(head.grid.to_index([[float(v) for v in dataset.ImagePositionPatient]])[0, 2])


def _write(dataset: pydicom.Dataset, stored: np.ndarray, folder: Path) -> Path:
    """Alters `dataset`; everything that is not named here stays as the scanner wrote it."""
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = make_uid("real", dataset.SOPInstanceUID)
    dataset.SeriesInstanceUID = make_uid("real", dataset.SeriesInstanceUID)
    dataset.FrameOfReferenceUID = make_uid("real", dataset.FrameOfReferenceUID)
    dataset.SeriesNumber = 2301
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = _SCANNED
    dataset.ContrastBolusAgent, dataset.ContrastBolusRoute = "Gadobutrol", "INTRATHECAL"
    dataset.ContrastBolusStartTime = _INJECTED
    dataset.RescaleSlope = f"{_RESCALE_SLOPE:.14f}"
    dataset[0x2005, 0x100E].value = _SCALE_SLOPE
    dataset.PixelData = stored.tobytes()
    folder.mkdir(exist_ok=True)
    path = folder / f"2301_{int(dataset.InstanceNumber):04d}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path
