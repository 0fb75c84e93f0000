"""Checks of the model's answer: a possible image, an interval that holds its middle."""

from __future__ import annotations

import numpy as np

from service.imaging.head_mask import dilate
from service.imaging.quality import QualityReport, judge, report
from service.imaging.recipe_types import Anatomy, RestoredPrediction
from service.imaging.resampling import resample
from service.imaging.volume import Volume

_ROUNDING = np.float32(0.01)  # fat units; networks whose outputs are not ordered by construction
_SKIN_MM = 6.0  # the head's outline is smoothed; skin and ears stand out of it


def check_prediction(
    restored: RestoredPrediction, baseline: Volume, anatomy: Anatomy, *, fat_baseline: float
) -> QualityReport:
    """Is the model's answer a possible image? `fat_baseline` in the baseline's units."""
    checks = []
    for predicted, increase in zip(restored.predicted, restored.increase, strict=True):
        finite = float(np.isfinite(predicted.array).mean()) * float(np.isfinite(increase.array).mean())
        checks.append(judge("PREDICTION_NOT_FINITE", finite))
        if finite < 1.0:
            continue
        change = increase.array / np.float32(fat_baseline)
        checks.append(judge("PREDICTION_TOO_BRIGHT", float(np.percentile(change, 99.9))))
        checks.append(judge("PREDICTION_DARKENS", float(np.percentile(change, 0.1))))
        surroundings = dilate(anatomy.head, _SKIN_MM, anatomy.grid).astype(np.float32)
        # the neck below the outlined region is not air
        head = resample(Volume(surroundings, anatomy.grid), increase.grid, outside=1.0).array
        outside = np.abs(change[head < 0.01])
        checks.append(
            judge("PREDICTION_OUTSIDE_HEAD", float(np.percentile(outside, 99)) if outside.size > 1000 else 0.0)
        )
    if restored.lower and restored.upper:
        checks.append(judge("INTERVAL_CROSSED", _outside_interval(restored, fat_baseline)))
    return report(checks)


def _outside_interval(restored: RestoredPrediction, fat_baseline: float) -> float:
    """Share of voxels whose increase lies below its lower or above its upper bound by more than rounding."""
    beyond, voxels = 0, 0
    slack = _ROUNDING * np.float32(fat_baseline)
    for low, middle, high in zip(restored.lower, restored.increase, restored.upper, strict=True):
        within = (low.array <= middle.array + slack) & (middle.array <= high.array + slack)  # NaN is not within
        beyond, voxels = beyond + int(np.count_nonzero(~within)), voxels + within.size
    return beyond / voxels
