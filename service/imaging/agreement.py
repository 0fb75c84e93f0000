"""How far a predicted image and the scan that was acquired later agree, in units of orbital fat signal.

Both hold noise, the acquired one its own; a perfect prediction has the noise as its error. Beside the prediction stands
persistence, the delayed scan taken for the later one: what is worse than that was not worth predicting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.imaging.recipe_types import AlignedScan, Anatomy, RestoredPrediction
from service.imaging.reflux import Grade, Reflux, reflux
from service.imaging.resampling import resample
from service.imaging.volume import Float32, Grid, Mask, Volume

_SMALLEST_REGION = 50
_INSIDE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionAgreement:
    """Of one region; fat units.

    Attributes
    ----------
    error, persistence_error
        Mean absolute difference of the prediction, and of the delayed scan, from the later scan.
    bias
        Mean of predicted less acquired: positive where too much was predicted.
    increase
        Mean acquired increase over the baseline.
    """

    voxels: int
    error: float
    persistence_error: float
    bias: float
    increase: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A prediction held against the scan it foretold.

    Attributes
    ----------
    regions
        ``fluid``, ``ventricles`` and ``tissue``, as far as the prediction covers them.
    coverage
        Share of the voxels of fluid and tissue whose acquired increase lies inside the predicted interval; None for a
        model without one.
    index_predicted, index_acquired, grade_predicted, grade_acquired
        Reflux read from both images alike; grades are empty for models that predict single slices.
    """

    regions: Mapping[str, RegionAgreement]
    coverage: float | None
    index_predicted: float | None = None
    index_acquired: float | None = None
    grade_predicted: Grade | str = ""
    grade_acquired: Grade | str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sampled:
    """Everything on one grid, fat units, flattened over all of the prediction's volumes."""

    before: Float32
    delayed: Float32
    predicted: Float32
    acquired: Float32
    lower: Float32 | None
    upper: Float32 | None
    masks: Mapping[str, Mask]


def compare(
    restored: RestoredPrediction,
    *,
    anatomy: Anatomy,
    baseline: AlignedScan,
    delayed: AlignedScan,
    acquired: AlignedScan,
) -> Agreement:
    """Hold a prediction against the scan that was acquired at its time.

    A whole volume is compared on the anatomy's grid (2 mm), single slices on their own.
    """
    volume = len(restored.predicted) == 1
    grids = [anatomy.grid] if volume else [predicted.grid for predicted in restored.predicted]
    seen = _together([_on(grid, n, restored, anatomy, (baseline, delayed, acquired)) for n, grid in enumerate(grids)])
    regions = {
        name: _region(seen, mask) for name, mask in seen.masks.items() if np.count_nonzero(mask) >= _SMALLEST_REGION
    }
    both = seen.masks["fluid"] | seen.masks["tissue"]
    coverage: float | None = None
    if seen.lower is not None and seen.upper is not None and both.any():
        increase = (seen.acquired - seen.before)[both]
        coverage = float(((increase >= seen.lower[both]) & (increase <= seen.upper[both])).mean())
    if not volume:
        return Agreement(regions=regions, coverage=coverage)
    of_predicted, of_acquired = _reflux_of_both(restored, anatomy, baseline, acquired)
    return Agreement(
        regions=regions,
        coverage=coverage,
        index_predicted=of_predicted.index,
        index_acquired=of_acquired.index,
        grade_predicted=of_predicted.grade_24h,
        grade_acquired=of_acquired.grade_24h,
    )


def _on(
    grid: Grid,
    number: int,
    restored: RestoredPrediction,
    anatomy: Anatomy,
    scans: tuple[AlignedScan, AlignedScan, AlignedScan],
) -> _Sampled:
    fat = np.float32(scans[0].fat)
    coarse = grid is anatomy.grid

    def at(volume: Volume) -> Float32:
        return volume.array / fat if volume.grid is grid else resample(volume, grid, antialias=coarse).array / fat

    before, delayed, acquired = (
        resample(scan.volume, grid, scan.transform, antialias=coarse).array / np.float32(scan.fat) for scan in scans
    )
    bounds = [at(bound[number]) for bound in (restored.lower, restored.upper) if bound]
    regions = {
        "fluid": anatomy.brain & anatomy.csf,
        "ventricles": anatomy.lateral_ventricles,
        "tissue": anatomy.brain & ~anatomy.csf & ~anatomy.lateral_ventricles,
    }
    covered = acquired > 0  # outside the later scan's field of view there is nothing to compare with
    return _Sampled(
        before=before,
        delayed=delayed,
        predicted=at(restored.predicted[number]),
        acquired=acquired,
        lower=bounds[0] if bounds else None,
        upper=bounds[1] if bounds else None,
        masks={name: _mask_on(grid, mask, anatomy.grid) & covered for name, mask in regions.items()},
    )


def _mask_on(grid: Grid, mask: Mask, its_grid: Grid) -> Mask:
    if grid is its_grid:
        return mask
    return np.asarray(resample(Volume(mask.astype(np.float32), its_grid), grid).array >= _INSIDE)


def _together(parts: list[_Sampled]) -> _Sampled:
    def joined(arrays: list[Float32]) -> Float32:
        return np.concatenate([array.ravel() for array in arrays])

    lower = [part.lower for part in parts if part.lower is not None]
    upper = [part.upper for part in parts if part.upper is not None]
    return _Sampled(
        before=joined([part.before for part in parts]),
        delayed=joined([part.delayed for part in parts]),
        predicted=joined([part.predicted for part in parts]),
        acquired=joined([part.acquired for part in parts]),
        lower=joined(lower) if len(lower) == len(parts) else None,
        upper=joined(upper) if len(upper) == len(parts) else None,
        masks={name: np.concatenate([part.masks[name].ravel() for part in parts]) for name in parts[0].masks},
    )


def _region(seen: _Sampled, mask: Mask) -> RegionAgreement:
    acquired, predicted = seen.acquired[mask], seen.predicted[mask]
    return RegionAgreement(
        voxels=int(np.count_nonzero(mask)),
        error=float(np.abs(predicted - acquired).mean()),
        persistence_error=float(np.abs(seen.delayed[mask] - acquired).mean()),
        bias=float((predicted - acquired).mean()),
        increase=float((acquired - seen.before[mask]).mean()),
    )


def _reflux_of_both(
    restored: RestoredPrediction, anatomy: Anatomy, baseline: AlignedScan, acquired: AlignedScan
) -> tuple[Reflux, Reflux]:
    predicted = reflux(
        baseline.volume, restored.predicted[0], anatomy, fat_baseline=baseline.fat, fat_later=baseline.fat
    )
    real = reflux(
        baseline.volume,
        acquired.volume,
        anatomy,
        fat_baseline=baseline.fat,
        fat_later=acquired.fat,
        transform=acquired.transform,
    )
    return predicted, real
