"""Checks of what the tracer does: it is in the fluid at the brain's base, in the delayed series, and only there."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from service.imaging.head_mask import dilate, erode
from service.imaging.quality import SMALLEST_REGION, AlignedPair, QualityReport, around_brain, judge, report
from service.imaging.recipe_types import Anatomy
from service.imaging.volume import Float32, Float64, Mask

_FROM_THE_SURFACE_MM = 4.0
_SINUS_MM = 7.0  # thick and half wide
_BESIDE = 1.8  # voxels: as far as a mean over 3 x 3 x 3 looks, along its diagonal
_LEAST_ML = 2.0  # of fluid that must have brightened; the cisterna magna alone holds more
_DARK = 0.65  # x brain: fluid and bone, not muscle, marrow or blood that flows in
_BASE_MM = (10.0, 68.0)  # below the brain's centroid: from the suprasellar cistern to the foramen magnum
_ASIDE_MM = 25.0
_BEHIND_MM = 62.0
_IN_FRONT_MM, _CLIVUS_SLOPE = 30.0, 0.7  # the clivus runs down and back; in front of it lie sinuses and throat


def check_tracer(pair: AlignedPair, anatomy: Anatomy, *, fat_baseline: float, fat_delayed: float) -> QualityReport:
    """Has tracer reached the basal fluid, and are the two series the right way round?

    1-2 h after the injection tracer may have reached no more than the cisterna magna and what lies in front of the
    brain stem (Rieff et al. 2025), which is outside the outline of the brain. So it is looked for in all that is dark
    in either series between clivus and foramen magnum. What a bent neck, noise and shading change there brightens as
    much as it darkens, and is taken off; in swapped series it is the darkening that is left.
    """
    rise = pair.after / np.float32(fat_delayed) - pair.before / np.float32(fat_baseline)
    fluid = _basal_fluid(anatomy)
    if fluid.sum() < SMALLEST_REGION:
        return report([judge("NO_TRACER", float("nan"))])
    arrived = _arrived(rise, _dark_base(pair, anatomy), anatomy)
    return report(
        [
            judge("ORDER_SWAPPED", -arrived),
            judge("NO_TRACER", arrived),
            judge("TRACER_IN_NOISE", arrived / _unsteadiness(rise, anatomy)),
            judge("TRACER_EXCESSIVE", float(np.percentile(rise[fluid], 99))),
            judge("VESSELS_ENHANCED", _sinus_rise(rise, anatomy) - float(np.percentile(rise[fluid], 80))),
        ]
    )


def _arrived(rise: Float32, dark: Mask, anatomy: Anatomy) -> float:
    """By how much `_LEAST_ML` of `dark` brightened at least, less by how much as much of it darkened; fat units."""
    image = sitk.GetImageFromArray(rise)
    values = np.sort(sitk.GetArrayFromImage(sitk.BoxMean(image, [1] * 3))[dark])
    number = round(_LEAST_ML * 1000 / float(np.prod(anatomy.grid.spacing)))
    return float(values[-number] + values[number - 1]) if values.size >= 2 * number else float("nan")


def _dark_base(pair: AlignedPair, anatomy: Anatomy) -> Mask:
    """What is dark in either series around and below the brain stem: cisterns, fourth ventricle, bone."""
    grid = anatomy.grid
    up, left = anatomy.axial.normal, anatomy.midsagittal.normal
    tissue = anatomy.brain & ~anatomy.csf
    dark = [image < _DARK * np.median(image[tissue]) for image in (pair.before, pair.after)]
    seen = erode(pair.covered, _BESIDE * max(grid.spacing), grid)  # what one series lacks is neither dark nor darkened
    ijk = np.argwhere(anatomy.head & seen & (dark[0] | dark[1]))
    relative: Float64 = grid.to_world(ijk[:, ::-1]) - anatomy.brain_centre
    below, behind = -relative @ up, relative @ np.cross(up, left)
    clivus = -_IN_FRONT_MM + _CLIVUS_SLOPE * (below - _BASE_MM[0])
    within = (np.abs(relative @ left) < _ASIDE_MM) & (below > _BASE_MM[0]) & (below < _BASE_MM[1])
    within &= (behind > clivus) & (behind < _BEHIND_MM)
    region = np.zeros(grid.shape, dtype=bool)
    region[tuple(ijk[within].T)] = True
    return region


def _unsteadiness(rise: Float32, anatomy: Anatomy) -> float:
    """Robust standard deviation of the change in brain tissue, where there is no tracer yet: noise and misalignment."""
    box = around_brain(anatomy)
    tissue = rise[box][erode(anatomy.brain[box], _FROM_THE_SURFACE_MM, anatomy.grid) & ~anatomy.csf[box]]
    if tissue.size < SMALLEST_REGION:
        return float("nan")
    return float(1.4826 * np.median(np.abs(tissue - np.median(tissue))))


def _sinus_rise(rise: Float32, anatomy: Anatomy) -> float:
    """The brighter part of what lies on the midline between brain and skull, over the brain: the sagittal sinus.

    Where the band is empty nothing can be said against the pair: -1.
    """
    box = around_brain(anatomy)
    brain = anatomy.brain[box]
    band = dilate(brain, _SINUS_MM, anatomy.grid) & ~brain & anatomy.head[box]
    ijk = np.argwhere(band) + [part.start for part in box]
    relative = anatomy.grid.to_world(ijk[:, ::-1]) - anatomy.brain_centre
    above = (relative @ anatomy.axial.normal > 0) & (np.abs(relative @ anatomy.midsagittal.normal) < _SINUS_MM)
    values = rise[tuple(ijk[above].T)]
    return float(np.percentile(values, 90)) if values.size >= SMALLEST_REGION else -1.0


def _basal_fluid(anatomy: Anatomy) -> Mask:
    """Fluid within the brain's outline, below its centroid and near the midline."""
    ijk = np.argwhere(anatomy.brain & anatomy.csf & ~anatomy.lateral_ventricles)
    relative: Float64 = anatomy.grid.to_world(ijk[:, ::-1]) - anatomy.brain_centre
    below = (relative @ anatomy.axial.normal < -10) & (np.abs(relative @ anatomy.midsagittal.normal) < 35)
    region = np.zeros(anatomy.grid.shape, dtype=bool)
    region[tuple(ijk[below].T)] = True
    return region
