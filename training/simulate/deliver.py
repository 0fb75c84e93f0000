"""Simulated patients in the formats that the service takes: DICOM, NIfTI; and the demo's patient."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np

from service.imaging.volume import Volume
from training.simulate.cohort import SimulatedPatient, simulate_patient
from training.simulate.dicom_files import visit_times, write_series

DEMO_SEED, DEMO_INDEX, DEMO_SPACING_MM = 24, 114, 1.5
_DEMO_ARCHIVE = "simulated-patient.zip"


def write_dicom(patient: SimulatedPatient, folder: Path, *, with_late: bool = True) -> list[Path]:
    """``<folder>/{baseline,delayed,late}/*.dcm`` and ``truth.json``."""
    baseline, injection, delayed, late = visit_times(patient.hours)
    protocol = patient.truth["protocol"]
    written = []
    for number, (name, when) in enumerate((("baseline", baseline), ("delayed", delayed), ("late", late)), start=1):
        if name == "late" and not with_late:
            continue
        written += write_series(
            getattr(patient, name),
            folder / name,
            patient_id=f"SIM-{patient.truth['seed']}-{patient.truth['index']:03d}",
            description="sag T1 3D",
            acquired_at=when,
            injected_at=None if name == "baseline" else injection,
            number=number * 100 + 1,
            study_key=f"{patient.truth['seed']}/{patient.truth['index']}/{name}",
            flip_deg=protocol["flip_deg"],
            repetition_time_ms=protocol["repetition_time_ms"],
            echo_time_ms=protocol["echo_time_ms"],
        )
    _write_truth(patient, folder)
    return written


def write_nifti(patient: SimulatedPatient, folder: Path) -> list[Path]:
    """``<folder>/{baseline,delayed,late}.nii.gz`` and ``truth.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in ("baseline", "delayed", "late"):
        volume: Volume = getattr(patient, name)
        # NIfTI is RAS+, array [i, j, k]
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.affine
        image = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0).astype(np.int16), affine)
        image.header["descrip"] = b"SIMULATED by csf24-training"
        path = folder / f"{name}.nii.gz"
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
        "hours": patient.hours,
        "to_delayed": patient.to_delayed.matrix.tolist(),
        "to_late": patient.to_late.matrix.tolist(),
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
