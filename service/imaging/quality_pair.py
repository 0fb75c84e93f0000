"""Checks of the two series against each other: two scans, of one head, found without doubt, on one scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.errors import Reason
from service.imaging.quality import AlignedPair, QualityReport, judge, report
from service.imaging.quality_structure import displaced_part, local_agreement, relative_sharpness, worst_slice
from service.imaging.recipe_types import Anatomy, OrbitalFat, Registration
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume

_EVERY = 3  # slice and row: copies need not be compared in full


def check_two_scans(baseline: Volume, delayed: Volume) -> QualityReport:
    """Are these two measurements, or one series twice? Scaled, shifted or rounded copies count as one."""
    return report([judge("SAME_PIXELS", shared_grain(baseline, delayed))])


def check_registration(
    registration: Registration, pair: AlignedPair, anatomy: Anatomy, *, baseline: Volume, delayed: Volume
) -> QualityReport:
    """Is it the same head, was it found without doubt, and everywhere?"""
    transform, alike = registration.transform, local_agreement(pair, anatomy)
    return report(
        [
            judge("ROTATION_TOO_LARGE", transform.angle_deg),
            judge("REGISTRATION_INCONSISTENT", registration.inverse_consistency_mm),
            judge("REGISTRATION_AMBIGUOUS", registration.two_start_mm),
            judge("NOT_THE_SAME_HEAD", alike),
            judge("STRUCTURE_DIFFERS", alike),
            judge("PART_DISPLACED", displaced_part(pair, anatomy)),
            judge("SLICES_OUT_OF_PLACE", worst_slice(baseline, delayed, transform, anatomy)),
            judge("SHARPNESS_DIFFERS", relative_sharpness(pair, anatomy)),
            judge("DELAYED_COVERAGE", _coverage(delayed.grid, transform, anatomy)),
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
    return report(checks)


def check_white_matter(variation: float, because: tuple[Reason, ...]) -> QualityReport:
    """Can both series be divided by their white matter instead? Marks that they are, and why not by fat.

    Parameters
    ----------
    variation
        Coefficient of variation of white matter in the baseline.
    because
        What was wrong with the fat.
    """
    marked = judge("REFERENCE_IS_WHITE_MATTER", float(len(because)))
    codes = ", ".join(dict.fromkeys(reason.code for reason in because))
    return report(
        [judge("WHITE_VARIABLE", variation), replace(marked, message=f"{marked.message} What was wrong: {codes}.")]
    )


def shared_grain(one: Volume, other: Volume) -> float:
    """Correlation of the steps from voxel to voxel; 1 = the same noise, 0 where the matrices differ.

    Noise never repeats, so that two scans of a head that has not moved at all stay apart from a copy.
    """
    if one.array.shape != other.array.shape:
        return 0.0
    a, b = (np.diff(v.array[::_EVERY, ::_EVERY], axis=2).ravel() for v in (one, other))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def _coverage(delayed_grid: Grid, transform: RigidTransform, anatomy: Anatomy) -> float:
    """Share of the brain that lies inside the delayed volume."""
    points = anatomy.grid.to_world(np.argwhere(anatomy.brain)[:, ::-1])
    return float(delayed_grid.holds(transform.map(points)).mean()) if len(points) else float("nan")
