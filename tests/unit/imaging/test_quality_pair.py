"""Checks of two series against each other: each passes a sound pair and rejects its fault."""

import dataclasses

import numpy as np
import pytest

from service.imaging import quality, quality_pair, quality_scan
from service.imaging.recipe_types import OrbitalFat
from service.imaging.registration import register
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders import faults
from tests.builders.heads import Head, head_volume
from tests.builders.quality import codes, sound_registration
from tests.unit.imaging.conftest import MOVED


def of_pair(baseline, delayed, anatomy, transform):
    pair = quality.align(baseline, delayed, transform, anatomy)
    return codes(
        quality_pair.check_registration(
            sound_registration(transform), pair, anatomy, baseline=baseline, delayed=delayed
        )
    )


@pytest.mark.parametrize(
    "copy",
    [lambda a: a, lambda a: np.rint(a * 1.7), lambda a: 0.3 * a + 90],
    ids=["unchanged", "scaled and rounded", "scaled and shifted"],
)
def test_one_series_sent_twice_is_rejected(copy, baseline):
    again = baseline.with_array(copy(baseline.array).astype(np.float32))
    assert codes(quality_pair.check_two_scans(baseline, again)) == {"SAME_PIXELS"}


def test_two_scans_of_a_head_that_lay_still_are_two(baseline, grid):
    again = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 0.2}), grid)
    assert codes(quality_pair.check_two_scans(baseline, again)) == set()


@pytest.mark.parametrize(
    "doubt",
    [
        ({"transform": RigidTransform.from_euler((25, 0, 0), (0, 0, 0))}, "ROTATION_TOO_LARGE"),
        ({"inverse_consistency_mm": 2.0}, "REGISTRATION_INCONSISTENT"),
        ({"two_start_mm": 3.0}, "REGISTRATION_AMBIGUOUS"),
    ],
)
def test_doubtful_registrations_are_rejected_by_name(doubt, pair, anatomy, baseline, delayed):
    change, code = doubt
    doubtful = dataclasses.replace(sound_registration(MOVED), **change)
    assert code in codes(quality_pair.check_registration(doubtful, pair, anatomy, baseline=baseline, delayed=delayed))


def test_another_head_is_not_taken_for_the_same(baseline, anatomy, grid):
    other = head_volume(Head(scale=0.9, ventricle_scale=1.4, noise=0.02, seed=9), grid)
    assert "NOT_THE_SAME_HEAD" in of_pair(baseline, other, anatomy, RigidTransform.identity())


def test_a_misaligned_pair_is_not_taken_for_registered(baseline, delayed, anatomy):
    off = RigidTransform.from_euler((0, 0, 0), (5.0, 5.0, 5.0)) @ MOVED
    assert "NOT_THE_SAME_HEAD" in of_pair(baseline, delayed, anatomy, off)


def test_motion_during_one_scan_is_rejected(baseline, delayed, anatomy):
    shaken = faults.moved_meanwhile(delayed, MOVED.map(anatomy.brain_centre[None])[0], degrees=5, mm=5)
    assert "STRUCTURE_DIFFERS" in of_pair(baseline, shaken, anatomy, MOVED)


@pytest.mark.parametrize("blurs", ["baseline", "delayed"])
def test_one_blurred_series_is_rejected(blurs, baseline, delayed, anatomy):
    a = faults.blurred(baseline, 2.5) if blurs == "baseline" else baseline
    b = faults.blurred(delayed, 2.5) if blurs == "delayed" else delayed
    assert "SHARPNESS_DIFFERS" in of_pair(a, b, anatomy, MOVED)


def test_noise_shading_gain_and_tracer_do_not_make_it_another_head(baseline, anatomy, grid):
    head = Head(noise=0.02, seed=5, tracer={"basal": 0.3}, gain=300.0, bias=0.2)
    assert of_pair(baseline, head_volume(head, grid, MOVED), anatomy, MOVED) == set()


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
    report = quality_pair.check_normalisation(pair, anatomy, fat_baseline=_fat(), fat_delayed=later)
    assert code in codes(report)


def test_suppressed_fat_is_rejected(pair, anatomy):
    fat = {"fat_baseline": _fat(median=300.0), "fat_delayed": _fat(median=450.0)}
    assert "FAT_NOT_BRIGHT" in codes(quality_pair.check_normalisation(pair, anatomy, **fat))


def test_a_mirrored_copy_of_the_same_head_is_rejected(baseline, anatomy, grid):
    """The outline of a head is nearly symmetrical, its gyri are not."""
    rng = np.random.default_rng(3)
    gyri = faults.blurred(baseline.with_array(rng.standard_normal(grid.shape, dtype=np.float32)), 3.5).array
    uneven = baseline.with_array(baseline.array * (1 + 0.15 * gyri / gyri.std()).clip(0.5, 1.5))
    later = resample(uneven, grid, MOVED.inverse(), order=3)
    assert "NOT_THE_SAME_HEAD" not in of_pair(uneven, later, anatomy, MOVED)
    turned = faults.mirrored(later, 2)
    found = register(uneven, turned, centre=anatomy.brain_centre)
    assert "NOT_THE_SAME_HEAD" in of_pair(uneven, turned, anatomy, found.transform)


def _delayed_with(delayed, change):
    array = delayed.array.copy()
    middle = array.shape[0] // 2
    change(array, middle)
    return delayed.with_array(array)


def test_a_part_of_the_head_that_lies_aside_is_rejected(baseline, anatomy, delayed):
    def aside(array, middle):
        array[middle:] = np.roll(array[middle:], 3, axis=2)  # 6 mm

    assert of_pair(baseline, delayed, anatomy, MOVED) == set()
    assert "PART_DISPLACED" in of_pair(baseline, _delayed_with(delayed, aside), anatomy, MOVED)


def test_slices_that_were_exchanged_are_rejected(baseline, anatomy, delayed):
    def exchange(array, middle):
        array[[middle - 16, middle + 16]] = array[[middle + 16, middle - 16]]

    assert "SLICES_OUT_OF_PLACE" in of_pair(baseline, _delayed_with(delayed, exchange), anatomy, MOVED)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_blank_slice_inside_either_series_is_rejected_and_blank_margins_are_not(axis, delayed):
    array = np.pad(delayed.array, 3)
    margins = Volume(array, delayed.grid.part((-3, -3, -3), array.shape))
    assert codes(quality_scan.check_volume(margins)) == set()
    np.moveaxis(array, axis, 0)[array.shape[axis] // 2] = 0
    assert codes(quality_scan.check_volume(margins)) == {"SLICES_BLANK"}
