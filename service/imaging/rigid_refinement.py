"""Rigid alignment by robust Gauss-Newton on samples.

Each step moves the delayed scan's slopes and the baseline's, mapped through the signal model, half and half
(efficient second-order minimisation: Benhimane, Malis, IROS 2004), so that few steps suffice and neither scan
is preferred. The gain field is solved for in the same step, since it and a shift compensate each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.rigid import RigidTransform
from service.imaging.signal_model import SignalModel, Stiffness
from service.imaging.smoothed_copy import SmoothedCopy
from service.imaging.volume import Float64

HALF_AXES_MM = np.array([85.0, 105.0, 85.0])
"""An ellipsoid around the brain with scalp and skull, without jaw and neck."""

_LEVER_MM = 80.0  # one radian moves the brain's rim by this; balances rotations against translations
_SMALLEST_OVERLAP = 0.3  # of the samples
_LARGEST_TURN, _LARGEST_SHIFT_MM = 0.2, 15.0  # in one step; beyond it the slopes say nothing
_DAMPING = 1e-6


class NoOverlapError(ValueError):
    """Too few samples of the baseline fall into the delayed scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """When to stop: after `most_steps`, or when one moves the brain's rim by less than `last_step_mm`."""

    most_steps: int
    last_step_mm: float
    stiffness: Stiffness


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """`transform` maps fixed -> moving, LPS mm, reached in `steps`."""

    transform: RigidTransform
    steps: int


def refine(
    fixed: SmoothedCopy,
    moving: SmoothedCopy,
    start: RigidTransform,
    points: Float64,
    *,
    centre: Float64,
    effort: Effort,
) -> Refinement:
    """Align `moving` to `fixed` on ``(N, 3)`` `points` of the fixed frame, from `start`.

    Raises
    ------
    NoOverlapError
        On the way, fewer than 30 % of the points were inside both.
    NoSignalError
        `fixed` is the same at all points.
    """
    reference = fixed.read(points)
    if reference.inside.mean() < _SMALLEST_OVERLAP:
        raise NoOverlapError
    model = SignalModel(reference.values, reference.inside, (points - centre) / HALF_AXES_MM, effort.stiffness)
    transform = start
    for step in range(1, effort.most_steps + 1):
        moved = transform.map(points)
        seen = moving.read(moved)
        usable = reference.inside & seen.inside
        if usable.mean() < _SMALLEST_OVERLAP:
            raise NoOverlapError
        model.fit(seen.values, usable, rounds=3 if step == 1 else 2)
        turned = reference.slopes @ transform.matrix[:3, :3].T
        slopes = 0.5 * (seen.slopes + model.reference_slopes()[:, None] * turned)
        pivot = transform.map(centre[None])[0]
        arms = (moved - pivot) / _LEVER_MM
        jacobian = np.concatenate([np.cross(arms, slopes), slopes, -model.field_slopes()], axis=1)
        change = _solve(jacobian, model.weights * usable, model.misfit)
        model.move_field(change[6:])
        transform = _moved(transform, change[:6], centre, pivot)
        if np.abs(change[:6]).max() < effort.last_step_mm:
            break
    return Refinement(transform=transform, steps=step)


def _solve(jacobian: Float64, weights: Float64, misfit: Float64) -> Float64:
    columns = np.ascontiguousarray(jacobian.T)
    weighted = columns * weights
    # einsum, not BLAS: the order of its sums, hence the last bit, does not depend on the number of threads
    normal = np.einsum("an,bn->ab", weighted, columns)
    scale = np.diag(normal)
    normal = normal + np.diag(_DAMPING * scale + np.finfo(np.float32).tiny + 1e-12 * scale.mean())
    return np.asarray(-np.linalg.solve(normal, np.einsum("an,n->a", weighted, misfit)))


def _moved(transform: RigidTransform, change: Float64, centre: Float64, pivot: Float64) -> RigidTransform:
    """`transform`, then a turn about `pivot` (where it takes `centre`) and a shift."""
    vector, shift = change[:3] / _LEVER_MM, change[3:]
    vector = vector * min(1.0, _LARGEST_TURN / max(float(np.linalg.norm(vector)), 1e-300))
    shift = shift * min(1.0, _LARGEST_SHIFT_MM / max(float(np.linalg.norm(shift)), 1e-300))
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(vector) @ transform.matrix[:3, :3]
    matrix[:3, 3] = pivot + shift - matrix[:3, :3] @ centre
    return RigidTransform(matrix)


def _rotation(vector: Float64) -> Float64:
    """Rodrigues' formula; the angle in radians is the length of `vector`."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
