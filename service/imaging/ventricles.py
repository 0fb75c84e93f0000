"""Lateral ventricles: fluid deep inside the brain that reaches the midline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.imaging.head_mask import WORKING_SPACING_MM, HeadMasks, components, dilate
from service.imaging.recipe_types import Plane
from service.imaging.volume import Float64, Mask

_DEEP_MM = 22.0  # sulci and cisterns end before; the bodies lie at 30-60 mm
_REACHES_MIDLINE_MM = 14.0  # the bodies do, Sylvian and insular fluid does not (> 25 mm)
_HALF_WIDTH_MM = 50.0
_MIDLINE_MM = 3.0  # half width of what may be third ventricle
_DEEPEST_MM = 30.0  # a lateral ventricle gets at least this deep
_BODIES_AGREE_MM = 12.0  # left and right bodies reach about the same height
_SMALLEST_ML = 0.4
_HORNS_DEEP_MM = 10.0  # under the hull: still below the sulci's floor in most places
_HORN_STEPS = 8  # times 2 mm


def lateral_ventricles(masks: HeadMasks, sagittal: Plane, up: Float64) -> Mask:
    """Mask of both lateral ventricles, without the third; empty if none is found.

    Parameters
    ----------
    up
        Unit vector towards the vertex (`planes.head_up`).
    """
    deep = masks.csf & (masks.depth_mm > _DEEP_MM)
    ijk = np.argwhere(deep)
    found = np.zeros_like(deep)
    relative = masks.image.grid.to_world(ijk[:, ::-1]) - sagittal.origin
    aside, height = np.abs(relative @ sagittal.normal), relative @ up
    bodies = (aside < _HALF_WIDTH_MM) & (aside > _MIDLINE_MM)
    if not bodies.any():
        return found
    # third ventricle and quadrigeminal cistern lie in the midline below the bodies: cut them off there
    labels, n = components(_mask_of(ijk[bodies], deep.shape))
    of = labels[tuple(ijk.T)]
    tops = {
        label: float(np.percentile(height[of == label], 95))
        for label in range(1, n + 1)
        if np.count_nonzero(of == label) * WORKING_SPACING_MM**3 >= _SMALLEST_ML * 1000
        and aside[of == label].min() < _REACHES_MIDLINE_MM
        and masks.depth_mm[labels == label].max() > _DEEPEST_MM
    }
    if not tops:
        return found
    top = max(tops.values())
    kept = [label for label, height_mm in tops.items() if height_mm > top - _BODIES_AGREE_MM]
    found = _grow(np.isin(labels, kept), masks, sagittal)
    joined = (aside <= _MIDLINE_MM) & (height > top - _BODIES_AGREE_MM) & (height < top + 2)
    return found | (_mask_of(ijk[joined], deep.shape) & dilate(found, 2 * _MIDLINE_MM, masks.image.grid))


def _grow(seeds: Mask, masks: HeadMasks, sagittal: Plane) -> Mask:
    """Into horns and atria, which come closer to the surface when ventricles are large."""
    wide = masks.csf & (masks.depth_mm > _HORNS_DEEP_MM)
    ijk = np.argwhere(wide)
    aside = np.abs((masks.image.grid.to_world(ijk[:, ::-1]) - sagittal.origin) @ sagittal.normal)
    wide = _mask_of(ijk[(aside > _MIDLINE_MM) & (aside < _HALF_WIDTH_MM)], wide.shape)
    found = seeds
    for _ in range(_HORN_STEPS):
        found = wide & dilate(found, WORKING_SPACING_MM, masks.image.grid)
    return found | seeds


def _mask_of(ijk: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(ijk.T)] = True
    return mask
