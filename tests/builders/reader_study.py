"""Reader studies: patients of three visits as DICOM, keys and filled-in forms without any image."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from pathlib import Path

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders.dicom import classic_series
from tests.builders.heads import Head, default_grid, head_volume
from tests.builders.patients import INJECTED_AT, baseline_series, delayed_series, write
from training.reader_study.allocation import Presentation, allocate
from training.reader_study.key import REAL, Key
from training.reader_study.scale import COLUMNS, GRADES_AT_24_H

MODEL = "volume3d-0.1.0"
LATE_AT = INJECTED_AT + timedelta(hours=24)
LATE_TRACER = {"basal": 0.25, "sas": 0.25, "ventricles": 0.12}
LATE_POSE = RigidTransform.from_euler((-3.0, 4.0, 2.0), (-5.0, 3.0, 6.0))


@cache
def head_late() -> Volume:
    """The head of `tests.builders.patients` after 24 h: fluid everywhere bright, ventricles less; moved, shaded."""
    head = Head(noise=0.02, seed=3, tracer=LATE_TRACER, gain=1200.0, bias=0.05)
    volume = head_volume(head, default_grid(1.5), LATE_POSE)
    return volume.with_array(volume.array.round())


def write_patient(folder: Path, patient: str = "P1") -> Path:
    """``folder/{baseline,delayed,late}/*.dcm``."""
    late = classic_series(head_late(), patient_id=patient, study=2, series=3, acquired_at=LATE_AT)
    for name, datasets in (
        ("baseline", baseline_series(patient)),
        ("delayed", delayed_series(patient)),
        ("late", late),
    ):
        write(datasets, folder / name)
    return folder


def study_key(
    patients: int = 4,
    readers: int = 2,
    versions: tuple[str, ...] = (REAL, MODEL),
    grades: tuple[int, ...] = GRADES_AT_24_H,
    **changes: object,
) -> Key:
    """A key as `make` writes it."""
    given = {
        "study": "TESTED",
        "seed": 3,
        "simulated": True,
        "readers": readers,
        "grades": grades,
        "versions": versions,
        "models": {MODEL: {"name": "volume3d", "version": "0.1.0", "sha256": "0" * 64, "simulated_training": True}},
        "left_out": {},
        "warnings": {},
        "items": allocate([f"patient-{n:03d}" for n in range(patients)], versions, readers, 3),
        **changes,
    }
    return Key(**given)


def write_forms(
    key: Key, folder: Path, answer: Callable[[Presentation], dict[str, object]], *, delimiter: str = ","
) -> Path:
    """One filled-in form for each reader and installment, as a spreadsheet saves it."""
    places = sorted({(item.reader, item.installment) for item in key.items})
    for reader, installment in places:
        items = [item for item in key.items if (item.reader, item.installment) == (reader, installment)]
        write_form(
            folder / f"ratings-{reader}-{installment}.csv", [form_row(key, i, answer(i)) for i in items], delimiter
        )
    return folder


def form_row(key: Key, item: Presentation, answers: dict[str, object]) -> dict[str, object]:
    """A line of a form."""
    known = {n: getattr(item, n) for n in ("reader", "installment", "position", "item")}
    return {**dict.fromkeys(COLUMNS, ""), "study": key.study, **known, **answers}


def write_form(path: Path, rows: Iterable[dict[str, object]], delimiter: str = ",") -> Path:
    """UTF-8 with a byte order mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path
