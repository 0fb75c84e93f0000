"""Mid-sagittal and axial planes of a head.

Rules
-----
Mid-sagittal plane: the plane that the head mirrors itself in best (largest correlation between the
brain's surroundings and their mirror image), searched over +-35 degrees around the scanner's.

Axial plane: contains the left-right axis; tilted so that the line from the brain's centroid to the midpoint of the
globes falls 35 degrees below it (about parallel to the AC-PC line); without orbits it keeps the
scanner's pitch. Its level is the one where the lateral ventricles' cross-section, averaged over 6 mm,
is largest in the upper 60 % of their height - their bodies; without ventricles the brain's centroid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from service.imaging.head_mask import HeadMasks, dilate
from service.imaging.recipe_types import Orbit, Plane
from service.imaging.resampling import sample
from service.imaging.volume import Float64, Mask

_GLOBES_BELOW_AXIAL_DEG = 35.0
_BODY_SMOOTHING_MM = 6.0
_SAMPLES = 6000  # points of the symmetry measure; a fixed stride, so the answer is repeatable


def midsagittal(masks: HeadMasks) -> Plane:
    """The symmetry plane; its normal points to the patient's left, its origin is the brain centroid's foot."""
    image = masks.image
    centre = mask_centroid(masks.brain, masks)
    near = dilate(masks.brain, 12.0, image.grid) & masks.head
    points = _points(near, masks)[:: max(1, int(near.sum()) // _SAMPLES)]
    clipped = image.with_array(np.clip(image.array, 0, 1.5))
    values = sample(clipped, points, outside=0.0).astype(np.float64)

    def asymmetry(parameters: Float64) -> float:
        normal, offset = _normal(parameters[0], parameters[1]), parameters[2]
        distance = (points - centre) @ normal - offset
        mirrored = sample(clipped, points - 2 * distance[:, None] * normal, outside=0.0)
        return -float(np.corrcoef(values, mirrored)[0, 1])

    coarse = np.array(
        [(yaw, roll, offset) for yaw in range(-30, 31, 10) for roll in range(-30, 31, 10) for offset in (-8, 0, 8)],
        dtype=np.float64,
    )
    best = min(coarse, key=asymmetry)
    best = _pattern_search(asymmetry, best, np.array([5.0, 5.0, 4.0]), 0.15)
    normal = _normal(best[0], best[1])
    return Plane(origin=centre + normal * best[2], normal=normal)


def axial(masks: HeadMasks, sagittal: Plane, ventricles: Mask, orbits: tuple[Orbit | None, Orbit | None]) -> Plane:
    """The axial plane through the bodies of the lateral ventricles; its normal points up."""
    up = head_up(sagittal, mask_centroid(masks.brain, masks), orbits)
    centre = sagittal.origin
    if not ventricles.any():
        return Plane(origin=centre, normal=up)
    heights = (_points(ventricles, masks) - centre) @ up
    low, high = np.percentile(heights, [1, 99])
    levels = np.arange(low + 0.4 * (high - low), high + 0.5, 1.0)
    area = [np.count_nonzero(np.abs(heights - level) <= _BODY_SMOOTHING_MM / 2) for level in levels]
    return Plane(origin=centre + up * float(levels[int(np.argmax(area))]), normal=up)


def head_up(sagittal: Plane, brain_centre: Float64, orbits: tuple[Orbit | None, Orbit | None]) -> Float64:
    """Unit vector towards the vertex within the mid-sagittal plane (see the module's rule)."""
    left = sagittal.normal
    found = [o.globe_centre for o in orbits if o is not None]
    if found:
        forward = np.mean(found, axis=0) - brain_centre
        forward -= left * float(forward @ left)
        forward /= np.linalg.norm(forward)
        raised = np.deg2rad(_GLOBES_BELOW_AXIAL_DEG)
        steep = np.cross(left, forward)  # perpendicular to `forward`, in LPS: left x anterior = -superior
        steep = steep if steep[2] > 0 else -steep
        return np.asarray(np.cos(raised) * steep - np.sin(raised) * forward)
    upright = np.array([0.0, 0.0, 1.0]) - left * left[2]
    return np.asarray(upright / np.linalg.norm(upright))


def mask_centroid(mask: Mask, masks: HeadMasks) -> Float64:
    """LPS mm."""
    return np.asarray(_points(mask, masks).mean(axis=0))


def _points(mask: Mask, masks: HeadMasks) -> Float64:
    return masks.image.grid.to_world(np.argwhere(mask)[:, ::-1])


def _normal(yaw_deg: float, roll_deg: float) -> Float64:
    yaw, roll = np.deg2rad([yaw_deg, roll_deg])
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])


def _pattern_search(cost: Callable[[Float64], float], start: Float64, step: Float64, smallest: float) -> Float64:
    best, lowest = start, cost(start)
    while step.max() > smallest:
        moved = False
        for axis in range(len(start)):
            for sign in (1.0, -1.0):
                trial = best.copy()
                trial[axis] += sign * step[axis]
                value = cost(trial)
                if value < lowest:
                    best, lowest, moved = trial, value, True
                    break
        if not moved:
            step = step / 2
    return best
