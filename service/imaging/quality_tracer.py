"""Checks of what the tracer does: it is in the fluid at the brain's base, in the delayed series, and only there."""

from __future__ import annotations

import numpy as np

from service.imaging.head_mask import dilate, erode
from service.imaging.quality import SMALLEST_REGION, AlignedPair, QualityReport, around_brain, judge, report
from service.imaging.recipe_types import Anatomy
from service.imaging.volume import Float32, Float64, Mask

_FROM_THE_SURFACE_MM = 4.0
_SINUS_MM = 7.0  # thick and half wide
_NOTICEABLE = 0.08  # fat units; about 0.03 mM, and twice what shading and noise do at 2 mm


def check_tracer(pair: AlignedPair, anatomy: Anatomy, *, fat_baseline: float, fat_delayed: float) -> QualityReport:
    """Has tracer reached the basal fluid, and are the two series the right way round?

    Tracer is looked for in the baseline's dark fluid below the brain's centroid, within 35 mm of the midline:
    cisterns in front of the brain stem, suprasellar cistern, cisterna magna. Swapped series are looked for in the
    whole basal brain, because bright fluid in the 'baseline' is not outlined as fluid.
    """
    rise = pair.after / np.float32(fat_delayed) - pair.before / np.float32(fat_baseline)
    fluid, basal = _basal_regions(anatomy)
    if fluid.sum() < SMALLEST_REGION:
        return report([judge("NO_TRACER", float("nan"))])
    around = rise[basal]
    darkened = float((around < -_NOTICEABLE).mean() - (around > _NOTICEABLE).mean())
    reached = float(np.percentile(rise[fluid], 80))
    return report(
        [
            judge("ORDER_SWAPPED", darkened),
            judge("NO_TRACER", reached),
            judge("TRACER_IN_NOISE", reached / _unsteadiness(rise, anatomy)),
            judge("TRACER_EXCESSIVE", float(np.percentile(rise[fluid], 99))),
            judge("VESSELS_ENHANCED", _sinus_rise(rise, anatomy) - reached),
        ]
    )


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


def _basal_regions(anatomy: Anatomy) -> tuple[Mask, Mask]:
    """(dark fluid, all of the brain's hull) below the centroid and near the midline."""
    ijk = np.argwhere(anatomy.brain & ~anatomy.lateral_ventricles)
    relative: Float64 = anatomy.grid.to_world(ijk[:, ::-1]) - anatomy.brain_centre
    below = (relative @ anatomy.axial.normal < -10) & (np.abs(relative @ anatomy.midsagittal.normal) < 35)
    region = np.zeros(anatomy.grid.shape, dtype=bool)
    region[tuple(ijk[below].T)] = True
    return region & anatomy.csf, region
