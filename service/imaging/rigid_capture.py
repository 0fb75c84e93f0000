"""Where to begin: two heads brought within a few degrees and millimetres of each other, from any position.

Coarse copies are refined from several starts around the match of the two upper heads' middles; the start
that ends with the highest mutual information wins. Mutual information, since the ends differ in overlap, where
a misfit could be small for want of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from service.imaging.rigid import RigidTransform
from service.imaging.rigid_refinement import HALF_AXES_MM, Effort, NoOverlapError, refine
from service.imaging.signal_model import NoSignalError, Stiffness
from service.imaging.smoothed_copy import SmoothedCopy
from service.imaging.volume import Float64

COARSE_SPACING_MM, COARSE_SIGMA_MM = 8.0, 6.0
"""Voxels and total blur of the copies that `capture` works on."""

_VERTEX_AREA_MM2 = 1500.0  # smallest cross-section that counts as head, not as noise
_SLAB_MM = 4.0
_VERTEX_TO_CENTRE_MM = 75.0
_UPPER_HEAD_MM = 130.0  # from the vertex
_FOREGROUND = 0.3  # of the 90th percentile
_SEED = 2025
_LATTICE_MM = 8.0
_EFFORT = Effort(most_steps=12, last_step_mm=0.3, stiffness=Stiffness(classes=16, field_order=1, cutoff=6.0))
_BINS = 16
_SMALLEST_OVERLAP = 0.5  # of the lattice, for an end to count
_TURN_DEG, _LIFT_MM = 18.0, 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Degrees about x, y, z, and a shift along z: the vertex, which the start rests on, may be cut off."""

    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lift_mm: float = 0.0


_ANGLES = (-_TURN_DEG, 0.0, _TURN_DEG)
_TURNS = tuple(turn for turn in product(_ANGLES, _ANGLES, _ANGLES) if np.count_nonzero(turn) <= 1)
FEW_STARTS = (*(Start(turn_deg=turn) for turn in _TURNS), *(Start(lift_mm=lift) for lift in (-_LIFT_MM, _LIFT_MM)))
MANY_STARTS = (
    *(Start(turn_deg=turn) for turn in product(_ANGLES, _ANGLES, _ANGLES)),
    *(Start(turn_deg=turn, lift_mm=lift) for turn, lift in product(_TURNS, (-_LIFT_MM, _LIFT_MM))),
)


def capture(
    fixed: SmoothedCopy, moving: SmoothedCopy, begin: RigidTransform, starts: Sequence[Start], *, centre: Float64
) -> tuple[RigidTransform, int]:
    """The best end of `starts` around `begin`, and the steps of all of them.

    Raises
    ------
    NoOverlapError
        From no start did at least half of the upper head come to lie in the moving volume.
    """
    points = lattice(centre, _LATTICE_MM)
    best, highest, steps = None, 0.0, 0
    for start in starts:
        change = RigidTransform.from_euler(start.turn_deg, (0.0, 0.0, start.lift_mm), centre)
        try:
            end = refine(fixed, moving, begin @ change, points, centre=centre, effort=_EFFORT)
        except NoOverlapError:
            continue
        steps += end.steps
        agreement = mutual_information(
            fixed, moving, end.transform, points, bins=_BINS, smallest_overlap=_SMALLEST_OVERLAP
        )
        if agreement > highest:
            best, highest = end.transform, agreement
    if best is None:
        raise NoOverlapError
    return best, steps


def mutual_information(
    fixed: SmoothedCopy,
    moving: SmoothedCopy,
    transform: RigidTransform,
    points: Float64,
    *,
    bins: int,
    smallest_overlap: float,
) -> float:
    """Normalised, (H(A) + H(B)) / H(A, B): 1 (independent, or too little overlap) .. 2 (identical)."""
    a, b = fixed.read(points), moving.read(transform.map(points))
    both = a.inside & b.inside
    if both.mean() < smallest_overlap:
        return 1.0
    joint, _, _ = np.histogram2d(_clip(a.values[both]), _clip(b.values[both]), bins=bins)
    joint /= joint.sum()
    h_joint, h_a, h_b = (_entropy(p) for p in (joint, joint.sum(axis=1), joint.sum(axis=0)))
    return (h_a + h_b) / h_joint if h_joint > 0 else 1.0


def upper_head_centre(coarse: SmoothedCopy) -> Float64:
    """A point near the brain centre: 75 mm below the vertex, in the middle of the upper head's signal.

    Raises
    ------
    NoSignalError
        Nothing in the volume has the cross-section of a head.
    """
    array, grid = coarse.volume.array, coarse.volume.grid
    positive = array[array > 0]
    if positive.size == 0:
        raise NoSignalError
    foreground = np.argwhere(array > _FOREGROUND * np.percentile(positive, 90))
    points = grid.to_world(foreground[:, ::-1])
    slab = np.floor(points[:, 2] / _SLAB_MM).astype(np.int64)
    lowest = int(slab.min())
    area = np.bincount(slab - lowest) * abs(np.linalg.det(grid.affine[:3, :3])) / _SLAB_MM
    head = np.flatnonzero(area > _VERTEX_AREA_MM2)
    if head.size == 0:
        raise NoSignalError
    vertex = (int(head[-1]) + lowest + 1) * _SLAB_MM
    x, y, _ = points[points[:, 2] > vertex - _UPPER_HEAD_MM].mean(axis=0)
    return np.array([x, y, vertex - _VERTEX_TO_CENTRE_MM])


def lattice(centre: Float64, spacing_mm: float, seed: int = _SEED) -> Float64:
    """``(N, 3)`` points of the ellipsoid of interest, one at random in every cube of `spacing_mm`.

    On a plain lattice that falls onto the voxels of both, a transform that moves nothing would alone be spared
    the interpolation's blur.
    """
    lines = [np.arange(-h, h + 1e-6, spacing_mm) for h in HALF_AXES_MM]
    x, y, z = np.meshgrid(*lines, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    points += np.random.default_rng(seed).uniform(-spacing_mm / 2, spacing_mm / 2, points.shape)
    return np.asarray(points[((points / HALF_AXES_MM) ** 2).sum(axis=1) <= 1] + centre)


def _clip(values: Float64) -> Float64:
    # a few bright fat or vessel samples would squeeze the brain into a handful of bins
    return np.asarray(np.clip(values, 0, np.percentile(values, 98)))


def _entropy(p: Float64) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
