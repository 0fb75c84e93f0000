"""Acceptance checks: each measures one figure, holds it against one limit, and says pass, warn or reject.

Nothing here raises: the verdicts are data, and the pipeline refuses a case with any rejection. A figure
that cannot be computed (NaN) fails its check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.errors import Reason
from service.imaging.head_mask import dilate
from service.imaging.quality_limits import LIMITS
from service.imaging.recipe_types import Anatomy, OrbitalFat, Registration, RestoredPrediction
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Mask, Volume

Action = Literal["REJECT", "WARN"]

_NOTICEABLE = 0.08  # fat units; about 0.03 mM, and twice what shading and noise do at 2 mm
_SKIN_MM = 6.0  # the head's outline is smoothed; skin and ears stand out of it
_SMALLEST_REGION = 200  # voxels of 8 mm3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One verdict."""

    code: str
    passed: bool
    action: Action
    message: str
    measured: float | None
    limit: str

    def as_reason(self) -> Reason:
        """For reports and refusals."""
        return Reason(code=self.code, message=self.message, measured=self.measured, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """All verdicts of a case, in the order they were made."""

    checks: tuple[Check, ...]

    @property
    def rejections(self) -> tuple[Reason, ...]:
        """Why no prediction may leave; empty when all is well."""
        return tuple(c.as_reason() for c in self.checks if not c.passed and c.action == "REJECT")

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """What a reader should know."""
        return tuple(c.as_reason() for c in self.checks if not c.passed and c.action == "WARN")

    def __add__(self, other: QualityReport) -> QualityReport:
        return QualityReport(checks=self.checks + other.checks)


def judge(code: str, measured: float) -> Check:
    """Hold a figure against its entry in `LIMITS`; NaN fails."""
    limit = LIMITS[code]
    passed = bool(limit.lowest <= measured <= limit.highest)
    return Check(
        code=code,
        passed=passed,
        action=limit.action,
        message=limit.message,
        measured=None if np.isnan(measured) else round(float(measured), 4),
        limit=limit.text,
    )


def _report(checks: Iterable[Check]) -> QualityReport:
    return QualityReport(checks=tuple(checks))


def check_volume(volume: Volume) -> QualityReport:
    """Is this a whole-head 3D volume with an image in it? Before anything else is computed."""
    spacing = np.array(volume.grid.spacing)
    extent = spacing * np.array(volume.grid.shape[::-1])
    finite = float(np.isfinite(volume.array).mean())
    checks = [
        judge("NOT_FINITE", finite),
        judge("MATRIX_TOO_LARGE", float(volume.array.size)),
        judge("VOXELS_TOO_THICK", float(spacing.max())),
        judge("FIELD_OF_VIEW_SHORT", float(extent.min())),
    ]
    if finite == 1.0:
        low, middle, high = np.percentile(volume.array[::2, ::2, ::2], [1, 50, 99])
        levels = np.unique(volume.array[::3, ::3, ::3]).size
        checks += [
            judge("LOW_DYNAMIC_RANGE", float(levels)),
            judge("CONSTANT_IMAGE", float((high - low) / max(abs(high), abs(middle), 1e-12))),
        ]
    return _report(checks)


def check_anatomy(baseline: Volume, anatomy: Anatomy) -> QualityReport:
    """Does the baseline hold a whole brain with dark fluid, and both orbits?"""
    voxel_litres = float(np.prod(anatomy.grid.spacing)) / 1e6
    points = anatomy.grid.to_world(np.argwhere(anatomy.brain)[:, ::-1])
    ijk = baseline.grid.to_index(points)
    size = np.array(baseline.grid.shape[::-1])
    margin_mm = np.minimum(ijk + 0.5, size - 0.5 - ijk) * np.array(baseline.grid.spacing)
    at_edge = float((margin_mm.min(axis=1) < 2.0).mean()) if len(points) else float("nan")
    brain = float(anatomy.brain.sum())
    return _report(
        [
            judge("BRAIN_VOLUME", brain * voxel_litres),
            judge("BRAIN_CUT", at_edge),
            judge("FLUID_NOT_DARK", float(anatomy.csf.sum()) / brain if brain else float("nan")),
            judge("VENTRICLES_NOT_FOUND", float(anatomy.lateral_ventricles.sum()) * voxel_litres * 1000),
            judge("ORBITS_NOT_FOUND", float((anatomy.left_orbit is not None) + (anatomy.right_orbit is not None))),
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedPair:
    """Both series on `Anatomy.grid` (baseline frame), each in its own units; `after` is 0 where not covered."""

    before: Float32
    after: Float32


def align(baseline: Volume, delayed: Volume, transform: RigidTransform, anatomy: Anatomy) -> AlignedPair:
    """What the checks of a pair look at. `transform` maps baseline -> delayed."""
    return AlignedPair(
        before=resample(baseline, anatomy.grid, antialias=True).array,
        after=resample(delayed, anatomy.grid, transform, antialias=True).array,
    )


def check_registration(
    registration: Registration, pair: AlignedPair, anatomy: Anatomy, delayed_grid: Grid
) -> QualityReport:
    """Is it the same head, and was it found without doubt?"""
    transform = registration.transform
    return _report(
        [
            judge("ROTATION_TOO_LARGE", transform.angle_deg),
            judge("REGISTRATION_INCONSISTENT", registration.inverse_consistency_mm),
            judge("REGISTRATION_AMBIGUOUS", registration.two_start_mm),
            judge("NOT_THE_SAME_HEAD", edge_agreement(pair, anatomy.brain)),
            judge("DELAYED_COVERAGE", _coverage(delayed_grid, transform, anatomy)),
        ]
    )


def check_normalisation(
    pair: AlignedPair, anatomy: Anatomy, *, fat_baseline: OrbitalFat, fat_delayed: OrbitalFat
) -> QualityReport:
    """Can both series be divided by their orbital fat?"""
    checks = [judge("FAT_SMALL", float(min(fat_baseline.voxels, fat_delayed.voxels)))]
    for fat in (fat_baseline, fat_delayed):
        checks.append(judge("FAT_VARIABLE", fat.coefficient_of_variation))
        if np.isfinite(fat.left) and np.isfinite(fat.right):  # one side only: ORBITS_NOT_FOUND says so
            checks.append(judge("FAT_ASYMMETRIC", abs(fat.left - fat.right) / fat.median))
    tissue = anatomy.brain & ~anatomy.csf
    before, after = float(np.median(pair.before[tissue])), float(np.median(pair.after[tissue]))
    checks.append(judge("FAT_NOT_BRIGHT", fat_baseline.median / before if before > 0 else float("nan")))
    drift = (fat_delayed.median / fat_baseline.median) / (after / before) if before > 0 < after else float("nan")
    checks.append(judge("FAT_DRIFT", drift))
    return _report(checks)


def check_tracer(pair: AlignedPair, anatomy: Anatomy, *, fat_baseline: float, fat_delayed: float) -> QualityReport:
    """Has tracer reached the basal fluid, and are the two series the right way round?

    Tracer is looked for in the baseline's dark fluid below the brain's centroid, within 35 mm of the midline:
    cisterns in front of the brain stem, suprasellar cistern, cisterna magna. Swapped series are looked for in the
    whole basal brain, because bright fluid in the 'baseline' is not outlined as fluid.
    """
    rise = pair.after / np.float32(fat_delayed) - pair.before / np.float32(fat_baseline)
    fluid, basal = _basal_regions(anatomy)
    if fluid.sum() < _SMALLEST_REGION:
        return _report([judge("NO_TRACER", float("nan"))])
    around = rise[basal]
    darkened = float((around < -_NOTICEABLE).mean() - (around > _NOTICEABLE).mean())
    return _report(
        [
            judge("ORDER_SWAPPED", darkened),
            judge("NO_TRACER", float(np.percentile(rise[fluid], 80))),
            judge("TRACER_EXCESSIVE", float(np.percentile(rise[fluid], 99))),
        ]
    )


def check_prediction(
    restored: RestoredPrediction, baseline: Volume, anatomy: Anatomy, *, fat_baseline: float
) -> QualityReport:
    """Is the model's answer a possible image? `fat_baseline` in the baseline's units."""
    checks = []
    for predicted, increase in zip(restored.predicted, restored.increase, strict=True):
        finite = float(np.isfinite(predicted.array).mean()) * float(np.isfinite(increase.array).mean())
        checks.append(judge("PREDICTION_NOT_FINITE", finite))
        if finite < 1.0:
            continue
        change = increase.array / np.float32(fat_baseline)
        checks.append(judge("PREDICTION_TOO_BRIGHT", float(np.percentile(change, 99.9))))
        checks.append(judge("PREDICTION_DARKENS", float(np.percentile(change, 0.1))))
        surroundings = dilate(anatomy.head, _SKIN_MM, anatomy.grid).astype(np.float32)
        # the neck below the outlined region is not air
        head = resample(Volume(surroundings, anatomy.grid), increase.grid, outside=1.0).array
        outside = np.abs(change[head < 0.01])
        checks.append(
            judge("PREDICTION_OUTSIDE_HEAD", float(np.percentile(outside, 99)) if outside.size > 1000 else 0.0)
        )
    return _report(checks)


def edge_agreement(pair: AlignedPair, brain: Mask) -> float:
    """Correlation of the gradient magnitudes of both volumes over the brain, at 2 mm; 1 = same edges.

    Edges, not signal: tracer changes how bright fluid is, hardly where brain ends.
    """
    a, b = _edges(pair.before), _edges(pair.after)
    inside = brain & (pair.after > 0)
    if inside.sum() < _SMALLEST_REGION:
        return float("nan")
    return float(np.corrcoef(a[inside], b[inside])[0, 1])


def _edges(array: Float32) -> Float32:
    slopes = np.gradient(array)
    return np.asarray(np.sqrt(sum(s * s for s in slopes)), dtype=np.float32)


def _coverage(delayed_grid: Grid, transform: RigidTransform, anatomy: Anatomy) -> float:
    """Share of the brain that lies inside the delayed volume."""
    points = anatomy.grid.to_world(np.argwhere(anatomy.brain)[:, ::-1])
    ijk = delayed_grid.to_index(transform.map(points))
    size = np.array(delayed_grid.shape[::-1])
    return float(((ijk > -0.5) & (ijk < size - 0.5)).all(axis=1).mean()) if len(points) else float("nan")


def _basal_regions(anatomy: Anatomy) -> tuple[Mask, Mask]:
    """(dark fluid, all of the brain's hull) below the centroid and near the midline."""
    ijk = np.argwhere(anatomy.brain & ~anatomy.lateral_ventricles)
    relative: Float64 = anatomy.grid.to_world(ijk[:, ::-1]) - anatomy.brain_centre
    below = (relative @ anatomy.axial.normal < -10) & (np.abs(relative @ anatomy.midsagittal.normal) < 35)
    region = np.zeros(anatomy.grid.shape, dtype=bool)
    region[tuple(ijk[below].T)] = True
    return region & anatomy.csf, region
