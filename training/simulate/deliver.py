"""Simulated patients in the formats that the service takes: DICOM, NIfTI; and the demo's patient."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np

from training.simulate.cohort import simulate_patient
from training.simulate.dicom_files import INJECTED_AT, acquired_at, write_series
from training.simulate.patient import EARLY, LATE, SimulatedPatient

DEMO_SEED, DEMO_INDEX, DEMO_SPACING_MM = 24, 114, 1.5
_DEMO_ARCHIVE = "simulated-patient.zip"
_FOLDERS = {EARLY: "delayed", LATE: "late"}  # what csf24's commands call them
_ONE_DAY_H = 24.0
SIMULATED_NIFTI = b"SIMULATED by csf24-training"


def write_dicom(patient: SimulatedPatient, folder: Path, *, with_late: bool = True) -> list[Path]:
    """``<folder>/{baseline,delayed,3-5h,...,late,48h,29d}/*.dcm`` and ``truth.json``; `delayed` is 1-2 h, `late` 24 h.

    Without `with_late`, baseline and delayed only.
    """
    protocol = patient.truth["protocol"]
    written = []
    for number, (window, visit) in enumerate(patient.visits.items(), start=1):
        if not with_late and window not in ("baseline", EARLY):
            continue
        name = visit_folder(window)
        # a start of contrast is a time of day: beyond one day it would name another injection
        stated = 0 < visit.hours <= _ONE_DAY_H
        written += write_series(
            visit.volume,
            folder / name,
            patient_id=f"SIM-{patient.truth['seed']}-{patient.truth['index']:03d}",
            description="sag T1 3D",
            acquired_at=acquired_at(visit.hours),
            injected_at=INJECTED_AT if stated else None,
            number=number * 100 + 1,
            study_key=f"{patient.truth['seed']}/{patient.truth['index']}/{name}",
            flip_deg=protocol["flip_deg"],
            repetition_time_ms=protocol["repetition_time_ms"],
            echo_time_ms=protocol["echo_time_ms"],
        )
    _write_truth(patient, folder)
    return written


def visit_folder(window: str) -> str:
    """What a visit's folder or file is called."""
    return _FOLDERS.get(window, window)


def write_nifti(patient: SimulatedPatient, folder: Path) -> list[Path]:
    """``<folder>/{baseline,delayed,3-5h,...,late,48h,29d}.nii.gz`` and ``truth.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for window, visit in patient.visits.items():
        volume = visit.volume
        # NIfTI is RAS+, array [i, j, k]
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.affine
        image = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0).astype(np.int16), affine)
        image.header["descrip"] = SIMULATED_NIFTI
        path = folder / f"{visit_folder(window)}.nii.gz"
        nibabel.save(image, path)
        written.append(path)
    _write_truth(patient, folder)
    return written


def write_demo_patient(folder: Path) -> Path:
    """The pair that comes with the package: baseline and delayed as compressed DICOM in one .zip."""
    patient = simulate_patient(DEMO_SEED, DEMO_INDEX, spacing_mm=DEMO_SPACING_MM)
    folder.mkdir(parents=True, exist_ok=True)
    series = folder / "series"
    files = write_dicom(patient, series, with_late=False)
    archive = folder / _DEMO_ARCHIVE
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:  # the pixels are compressed already
        for file in files:
            # a fixed date, so that the same patient is the same archive
            entry = zipfile.ZipInfo(str(file.relative_to(series)), date_time=(2024, 1, 1, 0, 0, 0))
            out.writestr(entry, file.read_bytes())
            file.unlink()
    (series / "truth.json").unlink()
    for name in ("baseline", "delayed"):
        (series / name).rmdir()
    series.rmdir()
    return archive


def _write_truth(patient: SimulatedPatient, folder: Path) -> None:
    truth = {
        **patient.truth,
        "hours": {visit_folder(window): visit.hours for window, visit in patient.visits.items()},
        "from_baseline": {
            visit_folder(window): visit.from_baseline.matrix.tolist() for window, visit in patient.visits.items()
        },
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
