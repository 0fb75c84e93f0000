"""Patients as DICOM: a procedural head before the injection and 1.5 h after it, with tracer in the basal fluid."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders.dicom import classic_series, to_bytes
from tests.builders.heads import Head, default_grid, head_volume

MOVED = RigidTransform.from_euler((5.0, -4.0, 6.0), (4.0, -6.0, 5.0))
"""Baseline -> delayed, LPS mm."""
BASELINE_AT = datetime(2024, 5, 14, 8, 0)
INJECTED_AT = BASELINE_AT + timedelta(minutes=70)
DELAYED_AT = INJECTED_AT + timedelta(minutes=90)
SHIPPED = Path(__file__).parents[2] / "service" / "demo_patient" / "simulated-patient.zip"


@cache
def head_before() -> Volume:
    """1.5 mm, axial slices."""
    return _whole(head_volume(Head(noise=0.02, seed=1), default_grid(1.5)))


@cache
def head_after() -> Volume:
    """The same head moved by `MOVED`, other gain, shading, tracer in the basal fluid."""
    head = Head(noise=0.02, seed=2, tracer={"basal": 0.2}, gain=1500.0, bias=0.05)
    return _whole(head_volume(head, default_grid(1.5), MOVED))


def _whole(volume: Volume) -> Volume:
    return volume.with_array(volume.array.round())


def baseline_series(patient: str = "P1", **options: object) -> list[Dataset]:
    given = {"patient_id": patient, "study": 1, "series": 1, "acquired_at": BASELINE_AT, **options}
    return classic_series(head_before(), **given)


def delayed_series(
    patient: str = "P1", *, injected_at: datetime | None = INJECTED_AT, **options: object
) -> list[Dataset]:
    given = {"patient_id": patient, "study": 1, "series": 2, "acquired_at": DELAYED_AT, "injected_at": injected_at}
    return classic_series(head_after(), **{**given, **options})


@cache
def head_next_day() -> Volume:
    """The same head 24 h after the injection, in another place and with another gain: tracer all around the brain."""
    head = Head(noise=0.02, seed=6, tracer={"basal": 0.25, "sas": 0.3, "ventricles": 0.1}, gain=1300.0)
    return _whole(head_volume(head, default_grid(1.5), RigidTransform.from_euler((-3.0, 2.0, 1.0), (1.0, 3.0, -2.0))))


def next_day_series(patient: str = "P1", **options: object) -> list[Dataset]:
    given = {"patient_id": patient, "study": 2, "series": 3, "acquired_at": INJECTED_AT + timedelta(hours=24)}
    return classic_series(head_next_day(), **{**given, **options})


def write(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """One file an instance, ``0000.dcm`` onwards."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{number:04d}.dcm"
        path.write_bytes(to_bytes(dataset))
        paths.append(path)
    return paths


def unpack_shipped(folder: Path) -> tuple[list[Path], list[Path]]:
    """The demo's patient: (baseline, delayed) files."""
    with zipfile.ZipFile(SHIPPED) as archive:
        archive.extractall(folder)
    return sorted(folder.glob("baseline/*.dcm")), sorted(folder.glob("delayed/*.dcm"))
