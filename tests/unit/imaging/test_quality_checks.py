import dataclasses

import numpy as np
import pytest

from service.imaging import quality
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.quality_limits import LIMITS
from service.imaging.recipe_types import OrbitalFat, Registration, RestoredPrediction
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, default_grid, head_volume
from tests.unit.imaging.conftest import MOVED


def codes(report):
    return {reason.code for reason in report.rejections}


def good_registration(transform=MOVED) -> Registration:
    return Registration(
        transform=transform,
        similarity_before=1.1,
        similarity_after=1.3,
        inverse_consistency_mm=0.1,
        two_start_mm=0.1,
        iterations=50,
    )


@pytest.fixture(scope="module")
def pair(baseline, delayed, anatomy):
    return quality.align(baseline, delayed, MOVED, anatomy)


def test_every_limit_says_why_and_what_to_tell_the_user():
    for code, limit in LIMITS.items():
        assert code == code.upper()
        assert limit.message.endswith(".")
        assert len(limit.why) > 5
        assert limit.text


def test_a_figure_that_could_not_be_measured_fails():
    assert not quality.judge("NO_TRACER", float("nan")).passed


def test_a_sound_pair_passes_everything(baseline, delayed, anatomy, fat, pair):
    fat_delayed = measure_orbital_fat(delayed, anatomy, MOVED)
    report = (
        quality.check_volume(baseline)
        + quality.check_volume(delayed)
        + quality.check_anatomy(baseline, anatomy)
        + quality.check_registration(good_registration(), pair, anatomy, delayed.grid)
        + quality.check_normalisation(pair, anatomy, fat_baseline=fat, fat_delayed=fat_delayed)
        + quality.check_tracer(pair, anatomy, fat_baseline=fat.median, fat_delayed=fat_delayed.median)
    )
    assert report.rejections == ()
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda v: v.with_array(np.where(v.array > 1000, np.nan, v.array)), "NOT_FINITE"),
        (lambda v: v.with_array(np.full_like(v.array, 7)), "CONSTANT_IMAGE"),
        (lambda v: v.with_array((v.array > 200).astype(np.float32)), "LOW_DYNAMIC_RANGE"),
        (lambda v: Volume(v.array, Grid(v.grid.shape, v.grid.affine @ np.diag([1, 1, 2.5, 1]))), "VOXELS_TOO_THICK"),
        (lambda v: Volume(v.array[:40], Grid((40, *v.grid.shape[1:]), v.grid.affine)), "FIELD_OF_VIEW_SHORT"),
    ],
)
def test_unfit_volumes_are_rejected_by_name(spoil, code, baseline):
    assert code in codes(quality.check_volume(spoil(baseline)))


def test_a_brain_cut_by_the_field_of_view_is_rejected(baseline, anatomy):
    above = int(np.flatnonzero(anatomy.brain.any(axis=(1, 2)))[-1]) - 10
    cut = Volume(baseline.array[:above], Grid((above, *baseline.grid.shape[1:]), baseline.grid.affine))
    assert "BRAIN_CUT" in codes(quality.check_anatomy(cut, anatomy))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"transform": RigidTransform.from_euler((25, 0, 0), (0, 0, 0))}, "ROTATION_TOO_LARGE"),
        ({"inverse_consistency_mm": 2.0}, "REGISTRATION_INCONSISTENT"),
        ({"two_start_mm": 3.0}, "REGISTRATION_AMBIGUOUS"),
    ],
)
def test_doubtful_registrations_are_rejected_by_name(change, code, pair, anatomy, delayed):
    doubtful = dataclasses.replace(good_registration(), **change)
    assert code in codes(quality.check_registration(doubtful, pair, anatomy, delayed.grid))


def test_another_head_is_not_taken_for_the_same(baseline, anatomy, grid):
    other = head_volume(Head(scale=0.9, ventricle_scale=1.4, noise=0.02, seed=9), grid)
    pair = quality.align(baseline, other, RigidTransform.identity(), anatomy)
    assert "NOT_THE_SAME_HEAD" in codes(quality.check_registration(good_registration(), pair, anatomy, other.grid))


def test_a_misaligned_pair_is_not_taken_for_registered(baseline, delayed, anatomy):
    off = RigidTransform.from_euler((0, 0, 0), (5.0, 5.0, 5.0)) @ MOVED
    pair = quality.align(baseline, delayed, off, anatomy)
    assert "NOT_THE_SAME_HEAD" in codes(quality.check_registration(good_registration(off), pair, anatomy, delayed.grid))


def _fat(**change) -> OrbitalFat:
    figures = {"mean": 1000.0, "median": 1000.0, "voxels": 800, "left": 1000.0, "right": 1000.0}
    return OrbitalFat(**{**figures, "coefficient_of_variation": 0.05, **change})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"voxels": 40}, "FAT_SMALL"),
        ({"coefficient_of_variation": 0.3}, "FAT_VARIABLE"),
        ({"left": 1300.0, "right": 1700.0}, "FAT_ASYMMETRIC"),
        ({"median": 2500.0}, "FAT_DRIFT"),
    ],
)
def test_unfit_fat_is_rejected_by_name(change, code, pair, anatomy):
    later = _fat(**{"median": 1500.0, **change})
    report = quality.check_normalisation(pair, anatomy, fat_baseline=_fat(), fat_delayed=later)
    assert code in codes(report)


def test_suppressed_fat_is_rejected(pair, anatomy):
    report = quality.check_normalisation(pair, anatomy, fat_baseline=_fat(median=300.0), fat_delayed=_fat(median=450.0))
    assert "FAT_NOT_BRIGHT" in codes(report)


def test_without_tracer_the_case_is_rejected(baseline, anatomy, grid, fat):
    again = head_volume(Head(noise=0.02, seed=4), grid)
    pair = quality.align(baseline, again, RigidTransform.identity(), anatomy)
    report = quality.check_tracer(pair, anatomy, fat_baseline=fat.median, fat_delayed=1000.0)
    assert codes(report) == {"NO_TRACER"}


def test_swapped_series_are_rejected_as_swapped(baseline, anatomy, grid):
    enhanced = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 0.25}), grid)
    pair = quality.align(enhanced, baseline, RigidTransform.identity(), anatomy)
    report = quality.check_tracer(pair, anatomy, fat_baseline=1000.0, fat_delayed=1000.0)
    assert "ORDER_SWAPPED" in codes(report)


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
    assert codes(quality.check_prediction(fine, baseline, anatomy, fat_baseline=1000.0)) == set()
    bad = spoil(increase).astype(np.float32)
    wrong = RestoredPrediction(predicted=fine.predicted, increase=(baseline.with_array(bad),))
    assert code in codes(quality.check_prediction(wrong, baseline, anatomy, fat_baseline=1000.0))


def test_thick_two_dimensional_slices_are_rejected():
    thick = Grid.axis_aligned((30, 240, 240), (1.0, 1.0, 6.0), (0, 0, 0))
    report = quality.check_volume(Volume(np.zeros(thick.shape, dtype=np.float32), thick))
    assert "VOXELS_TOO_THICK" in codes(report)
    assert default_grid(2.0).spacing[0] == 2.0
