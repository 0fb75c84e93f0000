"""Decoded series, predictions and facts for the writers of derived objects; built from volumes, no files."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np
from pydicom.dataset import Dataset

from service.dicom.facts import DerivationFacts, ModelFacts, RefluxFacts
from service.dicom.headers import read_header
from service.dicom.series import SourcePlane, SourceSeries
from service.dicom.summaries import summarise
from service.errors import Reason
from service.imaging.quality import Check, QualityReport
from service.imaging.recipe_types import RestoredPrediction
from service.imaging.volume import Grid, Volume
from tests.builders.dicom import classic_series, enhanced_series, ramp_volume

FAT = 400.0
DERIVED_AT = datetime(2024, 5, 14, 13, 37, 21, 250000, tzinfo=timezone(timedelta(hours=2)))
MODEL = ModelFacts(
    name="volume3d",
    version="0.1.0",
    sha256="8aba3cd86c8a68ebf557b93a296b7a98624dda291bec85fdb8cde1882da918cf",
    mode="fat_global",
    simulated_training=False,
    intended_use="Research: predicts the 24 h T1 volume; not for diagnosis.",
)
REFLUX = RefluxFacts(index=0.61, grade_24h="3", interval=(0.44, 0.83), grade_range=("3", "indeterminate"))
QUALITY = QualityReport(
    checks=(
        Check(code="BRAIN_VOLUME", passed=True, action="REJECT", message="Whole.", measured=1.31, limit="0.6 to 2.2"),
        Check(
            code="FAT_VARIABLE",
            passed=False,
            action="WARN",
            message="Orbital fat varies; look at the fat regions.",
            measured=0.31,
            limit="at most 0.25",
        ),
        Check(code="NO_TRACER", passed=True, action="REJECT", message="Seen.", measured=None, limit="at least 0.05"),
    )
)


PAGE = b"%PDF-1.7\n1 0 obj\n<<\n/Type /Page\n>>\nendobj\n%%EOF\n"
"""Stands in for the page for print where it is only carried."""


def head_sized_volume(orientation: str = "sagittal", shape: tuple[int, int, int] = (5, 96, 80)) -> Volume:
    """Whole numbers 0..3000 that differ from voxel to voxel, on a matrix large enough for a banner."""
    return ramp_volume(orientation, shape)


def source_from(datasets: Sequence[Dataset], volume: Volume) -> SourceSeries:
    """What `datasets`, made from `volume` with Instance Number k + 1 or frame k + 1, decode to."""
    first = datasets[0]
    multi_frame = "PerFrameFunctionalGroupsSequence" in first
    planes = []
    for k in range(volume.grid.shape[0]):
        dataset = first if multi_frame else datasets[k]
        planes.append(
            SourcePlane(
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                frame_number=k + 1 if multi_frame else None,
                position=tuple(float(v) for v in volume.grid.to_world([[0, 0, k]])[0]),
                instance_number=dataset.get("InstanceNumber"),
            )
        )
    template = copy.deepcopy(first)
    for keyword in ("PixelData", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if keyword in template:
            del template[keyword]
    summary = summarise([read_header(dataset) for dataset in datasets])
    placed = Volume(volume.array, volume.grid, summary.header.frame_of_reference_uid)
    window = (500.0, 1000.0)
    return SourceSeries(volume=placed, planes=tuple(planes), template=template, window=window, summary=summary)


def source_series(volume: Volume | None = None, **options: object) -> SourceSeries:
    """A classic MR series; `options` as for `classic_series`."""
    volume = volume or head_sized_volume()
    return source_from(classic_series(volume, **options), volume)


def enhanced_source_series(volume: Volume | None = None, **options: object) -> SourceSeries:
    """An Enhanced MR series of one instance."""
    volume = volume or head_sized_volume()
    return source_from(enhanced_series(volume, **options), volume)


def source_pair(volume: Volume | None = None, **options: object) -> tuple[SourceSeries, SourceSeries]:
    """Baseline and delayed of one patient, an hour and a half apart; the delayed one in a study of its own."""
    volume = volume or head_sized_volume()
    return source_series(volume, **options), source_series(volume, **{**options, "study": 2, "series": 7})


def restored_for(baseline: SourceSeries) -> RestoredPrediction:
    """Baseline + a smooth increase with fractions, on the baseline's grid."""
    nk, nj, ni = baseline.volume.grid.shape
    k, j, i = (np.linspace(-1, 1, n) for n in (nk, nj, ni))
    bump = 300.3 * np.exp(-2 * (k[:, None, None] ** 2 + j[None, :, None] ** 2 + i[None, None] ** 2))
    increase = baseline.volume.with_array(bump.astype(np.float32))
    predicted = baseline.volume.with_array(baseline.volume.array + increase.array)
    return RestoredPrediction(predicted=(predicted,), increase=(increase,))


def slice_pair_for(baseline: SourceSeries, tilt_deg: float = 7.0) -> RestoredPrediction:
    """Two single planes, sagittal and axial, tilted against the baseline's axes."""
    angle = np.deg2rad(tilt_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    volumes = []
    for columns, rows in (((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 1, 0))):
        affine = np.eye(4)
        column, row = turn @ np.array(columns, float), turn @ np.array(rows, float)
        affine[:3, :3] = np.stack([column, row, np.cross(column, row)], axis=1)
        affine[:3, 3] = baseline.volume.grid.centre - (column + row) * 127.5
        array = np.random.default_rng(3).uniform(0, 2000, (1, 256, 256)).astype(np.float32)
        volumes.append(Volume(array, Grid((1, 256, 256), affine), baseline.volume.frame_of_reference_uid))
    increase = tuple(volume.with_array(volume.array * np.float32(0.2) - 30) for volume in volumes)
    return RestoredPrediction(predicted=tuple(volumes), increase=increase)


def derivation_facts(**changes: object) -> DerivationFacts:
    """Facts of a case; `changes` by field name."""
    fields: dict[str, object] = {
        "case_id": "c0123456789ab",
        "fingerprint": "f" * 64,
        "derived_at": DERIVED_AT,
        "software_version": "0.1.0",
        "model": MODEL,
        "hours_after_injection": 1.5,
        "warnings": (Reason(code="FAT_VARIABLE", message="Orbital fat varies.", measured=0.31, limit="at most 0.25"),),
        **changes,
    }
    return DerivationFacts(**fields)  # type: ignore[arg-type]
