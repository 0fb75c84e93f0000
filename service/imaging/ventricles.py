"""Ventricles and suprasellar cistern: the fluid where the atlas has them, and what hangs on it deep in the brain."""

from __future__ import annotations

import numpy as np

from service.imaging.head_mask import WORKING_SPACING_MM, HeadMasks, components, dilate, offsets_from, widen
from service.imaging.planes import head_up
from service.imaging.recipe_types import Plane
from service.imaging.volume import Float32, Float64, Mask

_LIKELY = 0.25  # atlas probability; the average ventricle is small, so little counts as likely
_FLUID_FRACTION = 0.65  # of the brain signal, where the atlas expects fluid: slits average with their walls
_MIDLINE_MM = 3.0  # half width of what may be third ventricle
_HALF_WIDTH_MM = 52.0
_DEEP_MM = 18.0  # under the brain's hull: sulci and Sylvian fluid end before
_HORNS_DEEP_MM = 10.0
_BODY_STEPS = 10  # times 2 mm, through deep fluid
_HORN_STEPS = 6  # times 2 mm, into horns and atria
_THIRD_MM = (5.0, 17.0, 12.0)  # semi-axes aside, forwards and up of where each may lie around the atlas's place
_SUPRASELLAR_MM = (14.0, 11.0, 9.0)
_AIR_FRACTION = 0.04  # the sphenoid sinus lies below the cistern
_SMALLEST_ML = 0.4
_MIDDLE_PERCENTILE = 25.0
_BELOW_BODIES_MM = 16.0  # quadrigeminal and ambient cistern lie deeper under the bodies, near the midline
_CISTERN_HALF_WIDTH_MM = 16.0


def lateral_ventricles(masks: HeadMasks, sagittal: Plane, expected: Float32) -> Mask:
    """Mask of both lateral ventricles of an upright head, without the third; empty if none is found.

    Parameters
    ----------
    expected
        ``[k, j, i]`` on the masks' grid: the atlas's probability of lateral ventricle.
    """
    likely = expected > _LIKELY
    sure = masks.brain & likely & (masks.image.array < _FLUID_FRACTION)
    if sure.sum() * WORKING_SPACING_MM**3 < _SMALLEST_ML * 1000:
        return np.zeros_like(sure)
    aside, height = _coordinates(masks, sagittal)
    bodies = float(np.median(height[sure]))
    cistern = (aside < _CISTERN_HALF_WIDTH_MM) & (height < bodies - _BELOW_BODIES_MM)
    may = masks.csf & (aside < _HALF_WIDTH_MM) & (aside > _MIDLINE_MM) & ~cistern
    found = _grown(sure & (aside > _MIDLINE_MM), may & (masks.depth_mm > _DEEP_MM), _BODY_STEPS)
    found = _grown(found, may & (masks.depth_mm > _HORNS_DEEP_MM), _HORN_STEPS)
    # across the midline only above the third ventricle, where the two bodies touch
    joined = masks.csf & (aside <= _MIDLINE_MM) & (height > bodies - 4) & (masks.depth_mm > _DEEP_MM)
    found |= joined & dilate(found, 2 * _MIDLINE_MM, masks.image.grid)
    return _large_parts(found | _rim(found, masks, aside))


def third_ventricle(masks: HeadMasks, sagittal: Plane, place: Float64, lateral: Mask) -> Mask:
    """The fluid in the midline around `place` (LPS mm) that is no lateral ventricle."""
    fluid = masks.brain & ~lateral & (masks.image.array < _FLUID_FRACTION) & (masks.depth_mm > _DEEP_MM)
    return fluid & _around(place, _THIRD_MM, masks, sagittal)


def suprasellar_cistern(masks: HeadMasks, sagittal: Plane, place: Float64, third: Mask) -> Mask:
    """The fluid around `place` (LPS mm), above the sella and before the brain stem."""
    near_brain = dilate(masks.brain, 2 * WORKING_SPACING_MM, masks.image.grid) & masks.head
    dark = (masks.image.array < _FLUID_FRACTION) & (masks.image.array > _AIR_FRACTION)
    return near_brain & dark & ~third & _around(place, _SUPRASELLAR_MM, masks, sagittal)


def _around(place: Float64, semi_axes_mm: tuple[float, float, float], masks: HeadMasks, sagittal: Plane) -> Mask:
    centre = place - sagittal.normal * float((place - sagittal.origin) @ sagittal.normal)  # moved into the midline
    x, y, z = (d / r for d, r in zip(offsets_from(centre, masks.image.grid), semi_axes_mm, strict=True))
    return np.asarray(x**2 + y**2 + z**2 < 1)


def _grown(seeds: Mask, allowed: Mask, steps: int) -> Mask:
    found = seeds
    for _ in range(steps):
        wider = (allowed & widen(found)) | found
        if np.count_nonzero(wider) == np.count_nonzero(found):
            break
        found = wider
    return found


def _rim(found: Mask, masks: HeadMasks, aside: Float64) -> Mask:
    """Voxels around `found` that are half fluid: nearer to its dark middle than to brain."""
    if not found.any():
        return found
    values = masks.image.array
    middle = float(np.percentile(values[found], _MIDDLE_PERCENTILE))
    return widen(found) & masks.brain & (values < (middle + 1.0) / 2) & (aside > _MIDLINE_MM)


def _coordinates(masks: HeadMasks, sagittal: Plane) -> tuple[Float64, Float64]:
    """Distance from the midline and height above the sagittal plane's origin, mm, per voxel."""
    x, y, z = offsets_from(sagittal.origin, masks.image.grid)
    n, up = sagittal.normal, head_up(sagittal)
    return np.abs(n[0] * x + n[1] * y + n[2] * z), up[0] * x + up[1] * y + up[2] * z


def _large_parts(mask: Mask) -> Mask:
    labels, n = components(mask)
    sizes = np.bincount(labels.ravel(), minlength=n + 1) * WORKING_SPACING_MM**3
    kept = [label for label in range(1, n + 1) if sizes[label] >= _SMALLEST_ML * 1000 / 4]
    return np.isin(labels, kept)
