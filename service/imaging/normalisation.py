"""Orbital-fat reference: the signal that both time points are divided by.

The region is found once, on the baseline, and carried to the delayed volume by the registration, so
that both are measured in the same tissue. The median, because the optic-nerve sheath inside the cone
enhances with tracer and would lift a mean.
"""

from __future__ import annotations

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging.recipe_types import Anatomy, Orbit, OrbitalFat
from service.imaging.resampling import sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Volume


def measure_orbital_fat(volume: Volume, anatomy: Anatomy, transform: RigidTransform | None = None) -> OrbitalFat:
    """Signal of the intraconal fat of both orbits, in the units of `volume`.

    Parameters
    ----------
    transform
        Baseline (where `anatomy` lies) -> `volume`; None for the baseline itself.

    Returns
    -------
    OrbitalFat
        ``median`` and ``mean`` over both sides, each side with the same weight; ``left`` and ``right``
        are medians, NaN for a side that has no orbit; ``voxels`` counts 1 mm3 points.
        Whether the figures are good enough is for `quality.check_normalisation` to say.

    Raises
    ------
    InputRefused
        FAT_NOT_FOUND: no orbit was found, or none lies inside `volume`, or its signal is not positive.
    """
    left, right = (_signal(volume, orbit, transform) for orbit in (anatomy.left_orbit, anatomy.right_orbit))
    sides = [values for values in (left, right) if values.size]
    if not sides or min(float(np.median(values)) for values in sides) <= 0:
        raise InputRefused(
            Reason(
                code="FAT_NOT_FOUND",
                message="No orbital fat was found to normalise by; the face may be removed, outside the field of "
                "view, or fat-suppressed. Send a T1 series that includes both orbits.",
                measured=0,
            )
        )
    both = np.concatenate(sides)
    spread = np.sqrt(np.mean([np.var(values) for values in sides]))
    return OrbitalFat(
        mean=float(np.mean([values.mean() for values in sides])),
        median=float(np.mean([np.median(values) for values in sides])),
        voxels=int(both.size),
        left=_median(left),
        right=_median(right),
        coefficient_of_variation=float(spread / both.mean()),
    )


def _signal(volume: Volume, orbit: Orbit | None, transform: RigidTransform | None) -> Float32:
    if orbit is None or len(orbit.fat_points) == 0:
        return np.zeros(0, dtype=np.float32)
    points = orbit.fat_points if transform is None else transform.map(orbit.fat_points)
    values = sample(volume, points)
    return values[np.isfinite(values)]


def _median(values: Float32) -> float:
    return float(np.median(values)) if values.size else float("nan")
