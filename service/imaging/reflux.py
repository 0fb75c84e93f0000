"""Ventricular reflux of tracer: an index and the 24 h grade, from the images themselves.

Human rule (Rieff et al. 2025): lateral ventricles against the subarachnoid space of the same axial level.
Here the signal increase, in fat units, is turned into concentration by the spoiled gradient echo equation and the
ratio of ventricular to subarachnoid concentration is graded. Grades 1 and 2 need a series in time and
cannot come from one late image. The cut-offs are this project's, not validated against raters:
the index is model-derived, for research.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from service.imaging.head_mask import erode
from service.imaging.recipe_types import Anatomy
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Mask, Volume

Grade = Literal["0", "3", "4", "indeterminate", "not gradable"]

ENHANCED_MM = 0.02  # mmol/L; +25 % of the fluid's signal
SAS_ENHANCED_MM = 0.03  # below it there is no subarachnoid tracer to compare with
GRADE_3_BELOW = 0.80
GRADE_4_FROM = 0.90  # isointense within about 10 %

_TR_MS, _TE_MS, _FLIP_DEG = 5.1, 2.3, 8.0  # Rieff et al. 2025, 3 T
_R1, _R2 = 3.3, 5.0  # relaxivity of gadobutrol in CSF at 3 T, per mM per s
_CSF = (1.0, 4200.0, 1500.0)  # proton density, T1 ms, T2* ms
_FAT = (0.9, 375.0, 50.0)
_LEVEL_HALF_HEIGHT_MM = 12.0
_SURFACE_MM = 14.0  # fluid this close to the brain's hull is subarachnoid
_VENTRICLE_MARGIN_MM = 2.0  # partial volume with brain
_SMALLEST_MIDLINE_REGION = 20  # voxels of 8 mm3
_PLEXUS_SHARE = 0.05  # brightest ventricle voxels: choroid plexus


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflux:
    """Model-derived reflux measures.

    Attributes
    ----------
    index
        Ventricular / subarachnoid concentration; None when not gradable.
    interval
        Lowest and highest index that the prediction's bounds allow; None without bounds, or when they leave the
        highest open.
    grade_range
        Lowest and highest grade that the prediction's bounds allow; None without bounds, or when not gradable.
    ventricle_mm, subarachnoid_mm
        Concentrations in mmol/L (mM); NaN where there is no such region.
    third_ventricle_mm, suprasellar_mm
        The same for the mid-sagittal reading.
    """

    index: float | None
    grade_24h: Grade
    interval: tuple[float, float] | None
    ventricle_mm: float
    subarachnoid_mm: float
    grade_range: tuple[Grade, Grade] | None = None
    third_ventricle_mm: float = float("nan")
    suprasellar_mm: float = float("nan")


def reflux(
    baseline: Volume,
    later: Volume,
    anatomy: Anatomy,
    *,
    fat_baseline: float,
    fat_later: float,
    transform: RigidTransform | None = None,
    increase_bounds: tuple[Volume, Volume] | None = None,
) -> Reflux:
    """Index and 24 h grade of `later` (predicted or acquired) against `baseline`.

    Parameters
    ----------
    transform
        Baseline -> `later`; None when `later` lies in the baseline frame (a prediction).
    increase_bounds
        Lower and upper bound of the increase, baseline frame and units (`RestoredPrediction`).
    """
    regions = reflux_regions(anatomy)
    before = resample(baseline, anatomy.grid, antialias=True).array / np.float32(fat_baseline)
    after = resample(later, anatomy.grid, transform, antialias=True).array / np.float32(fat_later)
    increase = after - before
    central = _with_sagittal_reading(grade_increase(increase, regions), increase, anatomy)
    if central.index is None or increase_bounds is None:
        return central
    lower, upper = (
        grade_increase(resample(bound, anatomy.grid, antialias=True).array / np.float32(fat_baseline), regions)
        for bound in increase_bounds
    )
    return replace(
        central,
        interval=_widest(central.index, lower, upper),
        grade_range=(
            _grade(lower.ventricle_mm, upper.subarachnoid_mm),
            _grade(upper.ventricle_mm, lower.subarachnoid_mm),
        ),
    )


def _with_sagittal_reading(found: Reflux, increase: Float32, anatomy: Anatomy) -> Reflux:
    """Tracer in the third ventricle makes an unenhanced lateral one grade 1 or 2, which one late image cannot tell."""
    third, cistern = (_typical(increase, region) for region in (anatomy.third_ventricle, anatomy.suprasellar))
    grade: Grade = "indeterminate" if found.grade_24h == "0" and third > SAS_ENHANCED_MM else found.grade_24h
    return replace(found, grade_24h=grade, third_ventricle_mm=third, suprasellar_mm=cistern)


def _typical(increase: Float32, region: Mask | None) -> float:
    if region is None or np.count_nonzero(region) < _SMALLEST_MIDLINE_REGION:
        return float("nan")
    return concentration(float(np.median(increase[region])))


def _grade(in_ventricle: float, in_space: float, enhanced: float = ENHANCED_MM) -> Grade:
    if in_ventricle <= enhanced:
        return "0"
    if in_ventricle < GRADE_3_BELOW * in_space:
        return "3"
    return "4" if in_ventricle >= GRADE_4_FROM * in_space else "indeterminate"


def _widest(index: float, lower: Reflux, upper: Reflux) -> tuple[float, float] | None:
    """Lowest ventricle over highest subarachnoid concentration and the reverse; None when that has no upper end.

    The two regions' errors are not known to go together, so the extremes are combined.
    """
    if lower.subarachnoid_mm <= 0 or upper.subarachnoid_mm <= 0:
        return None
    ends = (lower.ventricle_mm / upper.subarachnoid_mm, upper.ventricle_mm / lower.subarachnoid_mm)
    return min(index, *ends), max(index, *ends)


def concentration(increase_fat_units: float) -> float:
    """Tracer concentration (mM) of fluid whose signal rose by this much, in units of fat signal.

    The increase and not the ratio is inverted, because unenhanced fluid is close to zero in
    inversion-prepared sequences. Monotone up to 5 mM; clipped to 0..5.
    """
    return float(np.interp(increase_fat_units, _INCREASE, _CONCENTRATIONS))


def fluid_signal(concentration_mm: float | Float64) -> Float64:
    """Signal of fluid with that much tracer (mM), in units of fat signal."""
    return np.asarray(_spoiled_echo(*_CSF, np.asarray(concentration_mm)) / _spoiled_echo(*_FAT, np.zeros(())))


def _spoiled_echo(density: float, t1_ms: float, t2_ms: float, c: Float64) -> Float64:
    r1, r2 = 1 / t1_ms + _R1 * c / 1000, 1 / t2_ms + _R2 * c / 1000
    e1, flip = np.exp(-_TR_MS * r1), np.deg2rad(_FLIP_DEG)
    return np.asarray(density * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-_TE_MS * r2))


_CONCENTRATIONS = np.concatenate([np.linspace(0, 0.5, 101), np.linspace(0.51, 5, 450)])
_INCREASE = fluid_signal(_CONCENTRATIONS) - fluid_signal(0.0)


def reflux_regions(anatomy: Anatomy) -> tuple[Mask, Mask]:
    """Ventricle core, and the thin subarachnoid fluid at the same axial level."""
    grid = anatomy.grid
    ventricle = erode(anatomy.lateral_ventricles, _VENTRICLE_MARGIN_MM, grid)
    if ventricle.sum() < 30:
        ventricle = anatomy.lateral_ventricles
    nk, nj, ni = grid.shape
    k, j, i = np.meshgrid(np.arange(nk), np.arange(nj), np.arange(ni), indexing="ij", sparse=True)
    a = grid.affine
    n, origin = anatomy.axial.normal, anatomy.axial.origin
    height = sum(
        n[axis] * (a[axis, 0] * i + a[axis, 1] * j + a[axis, 2] * k + a[axis, 3] - origin[axis]) for axis in range(3)
    )
    deep = erode(anatomy.brain, _SURFACE_MM, grid)
    level = np.abs(height) <= _LEVEL_HALF_HEIGHT_MM
    return ventricle, anatomy.csf & ~deep & ~anatomy.lateral_ventricles & level


def grade_increase(increase: Float32, regions: tuple[Mask, Mask]) -> Reflux:
    """Index and 24 h grade of an `increase` in fat units, given ventricle core and subarachnoid fluid on its lattice.

    Voxels of about 2 mm.
    """
    ventricle, space = (increase[region] for region in regions)
    if ventricle.size < 30 or space.size < 100:
        return Reflux(
            index=None, grade_24h="not gradable", interval=None, ventricle_mm=float("nan"), subarachnoid_mm=float("nan")
        )
    core = np.sort(ventricle)[: max(1, int(ventricle.size * (1 - _PLEXUS_SHARE)))]
    spread = 1.4826 * float(np.median(np.abs(core - np.median(core))))
    noise = concentration(3 * spread / np.sqrt(core.size / 8))  # neighbouring voxels are not independent
    in_ventricle = concentration(float(np.median(core)))
    in_space = concentration(float(np.percentile(space, 75)))
    grade = "not gradable" if in_space < SAS_ENHANCED_MM else _grade(in_ventricle, in_space, max(ENHANCED_MM, noise))
    index = in_ventricle / in_space if grade != "not gradable" else None
    return Reflux(index=index, grade_24h=grade, interval=None, ventricle_mm=in_ventricle, subarachnoid_mm=in_space)
