import dataclasses

import numpy as np
import pytest

from service.errors import InputRefused
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.reflux import concentration, fluid_signal, reflux
from service.imaging.volume import Volume
from tests.builders.heads import Head, head_volume
from tests.unit.imaging.conftest import MOVED


@pytest.fixture(scope="module")
def true_anatomy(anatomy):
    """With the third ventricle as drawn: the drawn head's fissure runs on below it, as no head's does."""
    plain, marked = (head_volume(Head(tracer={"third": third}), anatomy.grid).array for third in (0.0, 1.0))
    return dataclasses.replace(anatomy, third_ventricle=marked - plain > 500)


def test_fat_of_the_drawing_is_measured_on_both_sides(fat):
    assert fat.median == pytest.approx(1000, rel=0.01)
    assert fat.left == pytest.approx(fat.right, rel=0.01)
    assert fat.coefficient_of_variation < 0.05


def test_the_same_fat_is_found_in_a_moved_delayed_series(delayed, anatomy):
    moved = measure_orbital_fat(delayed, anatomy, MOVED)
    assert moved.median == pytest.approx(1500, rel=0.06)  # its own gain, 5 % shading
    assert moved.coefficient_of_variation < 0.08


def test_a_head_without_orbits_is_refused_by_name(baseline, anatomy):
    defaced = dataclasses.replace(anatomy, left_orbit=None, right_orbit=None)
    with pytest.raises(InputRefused) as refused:
        measure_orbital_fat(baseline, defaced)
    assert refused.value.reasons[0].code == "FAT_NOT_FOUND"


def test_one_orbit_is_enough_to_measure_and_the_other_is_not_invented(baseline, anatomy):
    one = measure_orbital_fat(baseline, dataclasses.replace(anatomy, right_orbit=None))
    assert np.isnan(one.right)
    assert one.median == one.left


def test_fluid_signal_follows_the_spoiled_echo_table():
    """Figures computed independently for TR 5.1, TE 2.3, 8 degrees, r1 3.3, fluid and fat at 3 T."""
    expected = {0.0: 0.22, 0.02: 0.27, 0.05: 0.35, 0.1: 0.46, 0.2: 0.65, 0.5: 1.0, 1.0: 1.31, 2.0: 1.56}
    for c, signal in expected.items():
        assert float(fluid_signal(c)) == pytest.approx(signal, abs=0.04)


@pytest.mark.parametrize("mm", [0.0, 0.03, 0.1, 0.4, 2.0])
def test_concentration_inverts_the_signal(mm):
    assert concentration(float(fluid_signal(mm) - fluid_signal(0.0))) == pytest.approx(mm, abs=0.003)


@pytest.mark.parametrize(
    ("tracer", "grade"),
    [
        ({"sas": 0.25}, "0"),
        ({"sas": 0.30, "ventricles": 0.12}, "3"),
        ({"sas": 0.25, "ventricles": 0.25}, "4"),
        ({}, "not gradable"),
    ],
)
def test_grades_follow_what_was_drawn(tracer, grade, baseline, true_anatomy, grid):
    anatomy = true_anatomy
    later = head_volume(Head(noise=0.02, seed=5, tracer=tracer), grid)
    found = reflux(baseline, later, anatomy, fat_baseline=1000.0, fat_later=1000.0)
    assert found.grade_24h == grade
    assert (found.index is None) == (grade == "not gradable")


def test_the_interval_holds_the_index(baseline, anatomy, grid):
    later = head_volume(Head(seed=5, tracer={"sas": 0.25, "ventricles": 0.2}), grid)
    increase = later.array - baseline.array
    bounds = Volume(increase * 0.7, grid), Volume(increase * 1.3, grid)
    found = reflux(baseline, later, anatomy, fat_baseline=1000.0, fat_later=1000.0, increase_bounds=bounds)
    low, high = found.interval
    assert low < found.index < high
    # the regions' errors need not go together, so the extremes are combined: 0.7 / 1.3 and the reverse, about
    assert low / found.index == pytest.approx(0.7 / 1.3, rel=0.15)
    assert high / found.index == pytest.approx(1.3 / 0.7, rel=0.15)


def test_bounds_that_allow_no_tracer_around_the_brain_leave_the_interval_open(baseline, anatomy, grid):
    later = head_volume(Head(seed=5, tracer={"sas": 0.25, "ventricles": 0.2}), grid)
    increase = later.array - baseline.array
    bounds = Volume(increase * 0, grid), Volume(increase * 1.3, grid)
    found = reflux(baseline, later, anatomy, fat_baseline=1000.0, fat_later=1000.0, increase_bounds=bounds)
    assert found.interval is None
    assert found.index is not None


def test_no_ventricles_means_not_gradable(baseline, anatomy, grid):
    blind = dataclasses.replace(anatomy, lateral_ventricles=np.zeros_like(anatomy.csf))
    later = head_volume(Head(tracer={"sas": 0.25, "ventricles": 0.25}), grid)
    assert reflux(baseline, later, blind, fat_baseline=1000.0, fat_later=1000.0).grade_24h == "not gradable"


@pytest.mark.parametrize(("slack", "allowed"), [(5.0, ("3", "3")), (200.0, ("0", "4"))])
def test_a_grade_comes_with_those_that_the_predictions_bounds_allow(slack, allowed, baseline, true_anatomy, grid):
    later = head_volume(Head(noise=0.02, seed=5, tracer={"sas": 0.25, "ventricles": 0.1}), grid)
    rise = later.array - baseline.array
    bounds = (later.with_array(rise - np.float32(slack)), later.with_array(rise + np.float32(slack)))
    scale = {"fat_baseline": 1000.0, "fat_later": 1000.0}
    found = reflux(baseline, later, true_anatomy, **scale, increase_bounds=bounds)
    assert found.grade_24h == "3"
    assert found.grade_range == allowed
    assert reflux(baseline, later, true_anatomy, **scale).grade_range is None


def test_tracer_in_the_third_ventricle_alone_is_grade_1_or_2_which_one_image_cannot_tell(baseline, true_anatomy, grid):
    without, with_ = (
        reflux(
            baseline,
            head_volume(Head(noise=0.02, seed=5, tracer={"sas": 0.25, "third": third}), grid),
            true_anatomy,
            fat_baseline=1000.0,
            fat_later=1000.0,
        )
        for third in (0.0, 0.25)
    )
    assert without.grade_24h == "0"
    assert with_.grade_24h == "indeterminate"
    assert with_.third_ventricle_mm > 0.03 > without.third_ventricle_mm


def test_without_a_third_ventricle_the_sagittal_reading_is_left_open(baseline, anatomy, grid):
    blind = dataclasses.replace(anatomy, third_ventricle=np.zeros_like(anatomy.csf), suprasellar=None)
    later = head_volume(Head(noise=0.02, seed=5, tracer={"sas": 0.25}), grid)
    found = reflux(baseline, later, blind, fat_baseline=1000.0, fat_later=1000.0)
    assert np.isnan([found.third_ventricle_mm, found.suprasellar_mm]).all()
    assert found.grade_24h == "0"
