"""Checks of the model's answer."""

import numpy as np
import pytest

from service.imaging.quality_prediction import check_prediction
from service.imaging.recipe_types import RestoredPrediction
from tests.builders.quality import codes


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda a: np.where(a > 0, np.nan, a), "PREDICTION_NOT_FINITE"),
        (lambda a: a + 2500, "PREDICTION_TOO_BRIGHT"),
        (lambda a: a - 900, "PREDICTION_DARKENS"),
        (lambda a: a + 150, "PREDICTION_OUTSIDE_HEAD"),
    ],
)
def test_impossible_predictions_are_rejected_by_name(spoil, code, baseline, anatomy):
    increase = np.where(baseline.array > 100, 100.0, 0.0).astype(np.float32)
    fine = RestoredPrediction(
        predicted=(baseline.with_array(baseline.array + increase),), increase=(baseline.with_array(increase),)
    )
    assert codes(check_prediction(fine, baseline, anatomy, fat_baseline=1000.0)) == set()
    bad = spoil(increase).astype(np.float32)
    wrong = RestoredPrediction(predicted=fine.predicted, increase=(baseline.with_array(bad),))
    assert code in codes(check_prediction(wrong, baseline, anatomy, fat_baseline=1000.0))


def test_an_interval_holds_its_middle_or_is_rejected(baseline, anatomy):
    increase = np.where(baseline.array > 100, 100.0, 0.0).astype(np.float32)
    middle, low, high = (baseline.with_array(increase + by) for by in (0.0, -60.0, 60.0))
    predicted = (baseline.with_array(baseline.array + increase),)
    for lower, upper, expected in (
        (low, high, set()),
        (high, low, {"INTERVAL_CROSSED"}),
        (high, high, {"INTERVAL_CROSSED"}),
    ):
        restored = RestoredPrediction(predicted=predicted, increase=(middle,), lower=(lower,), upper=(upper,))
        assert codes(check_prediction(restored, baseline, anatomy, fat_baseline=1000.0)) == expected
