"""From an examined pair to the prediction, judged: what the conversion and the reader study both do with a model."""

from __future__ import annotations

from service.imaging.examination import Examination, ExaminedPair
from service.imaging.quality_prediction import check_prediction
from service.imaging.recipe import prepare, restore
from service.imaging.recipe_types import RestoredPrediction
from service.inference.calibration import calibrated
from service.inference.predictor import Predictor
from service.inference.reach import check_reach


def predict(found: ExaminedPair, predictor: Predictor, course: Examination) -> RestoredPrediction:
    """The model's answer in the baseline's place and units; `course` keeps the verdicts.

    Raises
    ------
    InputRefused
        The input is beyond the model's reach, or its answer cannot be right.
    ModelError
        The model itself failed.
    """
    manifest, baseline = predictor.manifest, found.baseline
    with course.stage("inference"):
        given = prepare(found.series, anatomy=found.anatomy, recipe=manifest.recipe)
        course.accept(check_reach(given.tensor, len(manifest.recipe.time_points), manifest.reach))
        answer = calibrated(predictor(given.tensor), manifest.calibration)
        restored = restore(answer, given, baseline.volume)
    with course.stage("checks"):
        course.accept(check_prediction(restored, baseline.volume, found.anatomy, fat_baseline=baseline.fat))
    return restored
