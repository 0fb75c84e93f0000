"""Orbital-fat reference: the signal that both time points are divided by; and white matter in its place.

The region is found once, on the baseline, and carried to the delayed volume by the registration, so
that both are measured in the same tissue. The median, because the optic-nerve sheath inside the cone
enhances with tracer and would lift a mean.

White matter is a poorer reference: how bright fat is beside it depends on the sequence and on fat suppression, which
the ratio below cannot know, and it takes up tracer itself within a day.
"""

from __future__ import annotations

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging.head_mask import between_two_kinds, erode
from service.imaging.quality import SMALLEST_REGION, AlignedPair
from service.imaging.recipe_types import Anatomy, Orbit, OrbitalFat, SignalReference
from service.imaging.resampling import sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Volume

FAT_OVER_WHITE_MATTER = 1.65
"""In seven real heads with bright fat, of several scanners and sequences: 1.25 to 1.92, median 1.61."""
_FROM_OUTLINE_MM = 3.0
_WITHOUT_TAILS = (1.0, 99.5)


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


def measure_white_matter(pair: AlignedPair, anatomy: Anatomy) -> tuple[SignalReference, float]:
    """A reference by white matter: what orbital fat would be in a head of usual proportions.

    Returns
    -------
    tuple
        The reference, and the white matter's coefficient of variation in the baseline, which shading and motion raise.

    Raises
    ------
    InputRefused
        WHITE_MATTER_NOT_FOUND: too little tissue to tell white from grey matter in.
    """
    inner = erode(anatomy.brain, _FROM_OUTLINE_MM, anatomy.grid) & ~anatomy.csf & (pair.before > 0) & (pair.after > 0)
    values = pair.before[inner]
    white = inner.copy()
    if values.size >= SMALLEST_REGION:
        without_tails = np.clip(values, *np.percentile(values, _WITHOUT_TAILS))
        white[inner] = values > between_two_kinds(without_tails[None])
    signal = pair.before[white]
    if values.size < SMALLEST_REGION or signal.size < SMALLEST_REGION:
        raise InputRefused(
            Reason(
                code="WHITE_MATTER_NOT_FOUND",
                message="There is too little white matter to normalise by in place of the orbital fat. Send a T1 "
                "series of the whole head.",
                measured=float(signal.size),
                limit=float(SMALLEST_REGION),
            )
        )
    reference = SignalReference(
        kind="white_matter",
        baseline=float(np.median(signal)) * FAT_OVER_WHITE_MATTER,
        delayed=float(np.median(pair.after[white])) * FAT_OVER_WHITE_MATTER,
    )
    return reference, float(signal.std() / signal.mean())


def _signal(volume: Volume, orbit: Orbit | None, transform: RigidTransform | None) -> Float32:
    if orbit is None or len(orbit.fat_points) == 0:
        return np.zeros(0, dtype=np.float32)
    points = orbit.fat_points if transform is None else transform.map(orbit.fat_points)
    values = sample(volume, points)
    return values[np.isfinite(values)]


def _median(values: Float32) -> float:
    return float(np.median(values)) if values.size else float("nan")
