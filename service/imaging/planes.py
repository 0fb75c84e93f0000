"""Mid-sagittal and axial planes of an upright head.

Rules
-----
Mid-sagittal plane: the plane that the head mirrors itself in best (largest correlation between the brain's
surroundings and their mirror image), searched around the atlas's; it cuts the third ventricle and the aqueduct.

Axial plane: contains the left-right axis and lies parallel to the atlas's AC-PC plane. Its level is the one where the
lateral ventricles' cross-section, averaged over 6 mm, is largest in the upper 60 % of their height - their bodies;
without ventricles it goes through the brain's centroid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from service.imaging.head_mask import HeadMasks, dilate
from service.imaging.recipe_types import Plane
from service.imaging.resampling import sample
from service.imaging.volume import Float64, Mask

_BODY_SMOOTHING_MM = 6.0
_SAMPLES = 5000  # points of the symmetry measure; a fixed stride, so the answer is repeatable
_STARTS_DEG = (-6.0, 0.0, 6.0)  # yaw and roll off the atlas's


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

    starts = [np.array([yaw, roll, 0.0]) for yaw in _STARTS_DEG for roll in _STARTS_DEG]
    best = _pattern_search(asymmetry, min(starts, key=asymmetry), np.array([3.0, 3.0, 4.0]), 0.15)
    normal = _normal(best[0], best[1])
    return Plane(origin=centre + normal * best[2], normal=normal)


def axial(masks: HeadMasks, sagittal: Plane, ventricles: Mask) -> Plane:
    """The axial plane through the bodies of the lateral ventricles; its normal points up."""
    up = head_up(sagittal)
    centre = sagittal.origin
    if not ventricles.any():
        return Plane(origin=centre, normal=up)
    heights = (_points(ventricles, masks) - centre) @ up
    low, high = np.percentile(heights, [1, 99])
    levels = np.arange(low + 0.4 * (high - low), high + 0.5, 1.0)
    area = [np.count_nonzero(np.abs(heights - level) <= _BODY_SMOOTHING_MM / 2) for level in levels]
    return Plane(origin=centre + up * float(levels[int(np.argmax(area))]), normal=up)


def head_up(sagittal: Plane) -> Float64:
    """Unit vector towards the vertex within the mid-sagittal plane of an upright head."""
    up = np.array([0.0, 0.0, 1.0]) - sagittal.normal * sagittal.normal[2]
    return np.asarray(up / np.linalg.norm(up))


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
