"""Target error of the rigid registration against known motion, on procedural heads."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from service.errors import InputRefused
from service.imaging import quality
from service.imaging.registration import register
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, default_grid, head_volume
from tests.builders.second_scan import Conditions, drawn_conditions, drawn_subject, first_scan, second_scan

CENTRE = np.array([0.0, 2.0, 8.0])
TARGETS = np.array([[x, y, z] for x in (-50.0, 0, 50) for y in (-60.0, 0, 60) for z in (-40.0, 0, 50)]) + CENTRE
MOVED = RigidTransform.from_euler((8, -6, 9), (10, -12, 8), CENTRE)


@pytest.fixture(scope="module")
def fixed():
    return head_volume(Head(noise=0.02, seed=1), default_grid(2.0))


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(spacing=2.0)


@pytest.fixture(scope="module")
def first(subject):
    return first_scan(subject)


def delayed_head(pose, grid=None, **changes):
    head = Head(noise=0.03, seed=2, tracer={"basal": 0.25}, gain=1600.0, bias=0.1)
    return head_volume(replace(head, **changes), grid or default_grid(2.0), pose)


def second(subject, **conditions):
    grid = Grid.axis_aligned((128, 128, 128), 2.0, subject.scan.grid.centre)
    return second_scan(subject, Conditions(**{"pose": MOVED, "basal": 0.6, "seed": 3} | conditions), grid)


def target_error(found, truth):
    return float(np.linalg.norm(found.map(TARGETS) - truth.map(TARGETS), axis=1).mean())


@pytest.mark.parametrize(
    ("angles", "shift"), [((3, -2, 4), (5, -4, 6)), ((12, -8, 10), (12, -10, 15)), ((0, 0, 20), (0, 25, -10))]
)
def test_known_motion_is_recovered_despite_tracer_gain_shading_and_noise(angles, shift, fixed):
    truth = RigidTransform.from_euler(angles, shift, CENTRE)
    found = register(fixed, delayed_head(truth), centre=CENTRE)
    assert target_error(found.transform, truth) < 0.1  # mm, on 2 mm voxels
    assert found.inverse_consistency_mm < 0.5
    assert found.two_start_mm < 0.5
    assert found.similarity_after > found.similarity_before


@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param({"basal": 3.0, "everywhere": 1.5}, id="all fluid far brighter than the brain"),
        pytest.param({"bias": 0.3, "gain": 0.6}, id="shading of 30 percent"),
        pytest.param({"neck_deg": 15.0}, id="a nodding neck"),
        pytest.param({"noise": 0.12}, id="noise of 12 percent"),
        pytest.param({"missing_mm": 20.0, "missing_side": "+z"}, id="the vertex cut off"),
        pytest.param({"missing_mm": 20.0, "missing_side": "+x"}, id="the left cut off"),
        pytest.param({"missing_mm": 20.0, "missing_side": "-y"}, id="the face cut off"),
    ],
)
def test_the_brain_is_found_despite(conditions, subject, first):
    found = register(first, second(subject, **conditions), centre=subject.centre)
    assert target_error(found.transform, MOVED) < 0.15
    assert max(found.inverse_consistency_mm, found.two_start_mm) < 0.6


@pytest.mark.parametrize("trial", range(2))
def test_everything_at_once_up_to_20_degrees_and_30_mm_on_every_axis(trial, subject, first):
    conditions = drawn_conditions(CENTRE, trial)
    grid = Grid.axis_aligned((128, 128, 128), 2.0, subject.scan.grid.centre)
    found = register(first, second_scan(subject, conditions, grid), centre=subject.centre)
    assert target_error(found.transform, conditions.pose) < 0.2


@pytest.mark.parametrize("angles", [(45, 0, 0), (0, 0, -45)])
def test_a_head_turned_by_45_degrees_far_from_the_first_is_captured(angles, subject, first):
    shift = np.array([260.0, -310.0, 190.0])
    truth = RigidTransform.from_euler(angles, shift, CENTRE)
    grid = Grid.axis_aligned((128, 128, 128), 2.0, subject.scan.grid.centre + shift)
    moving = second_scan(subject, Conditions(pose=truth, basal=0.6, seed=3), grid)
    assert target_error(register(first, moving, centre=CENTRE).transform, truth) < 0.1


def test_another_matrix_and_slice_orientation_change_nothing(fixed):
    truth = RigidTransform.from_euler((4, 3, -5), (6, -3, 4), CENTRE)
    affine = np.array([[0, 0, -1.6, 100.0], [1.5, 0, 0, -125], [0, -1.5, 0, 115], [0, 0, 0, 1]])
    sagittal = Grid((126, 170, 170), affine)
    found = register(fixed, delayed_head(truth, sagittal), centre=CENTRE)
    assert target_error(found.transform, truth) < 0.1


def test_thick_slices_are_aligned_to_thin_ones(fixed):
    truth = RigidTransform.from_euler((4, 3, -5), (6, -3, 4), CENTRE)
    thick = resample(
        delayed_head(truth), Grid.axis_aligned((58, 250, 200), (1.0, 1.0, 4.0), (6.0, -3.0, -16.0)), antialias=True
    )
    assert target_error(register(fixed, thick, centre=CENTRE).transform, truth) < 0.2


def test_a_sheared_lattice_is_no_obstacle(fixed):
    truth = RigidTransform.from_euler((4, 3, -5), (6, -3, 4), CENTRE)
    affine = default_grid(2.0).affine.copy()
    affine[:3, 2] += (0.0, 0.25, 0.0)  # a gantry tilt of 7 degrees
    affine[1, 3] -= 15.0
    sheared = Grid(default_grid(2.0).shape, affine)
    assert target_error(register(fixed, delayed_head(truth, sheared), centre=CENTRE).transform, truth) < 0.1


@pytest.mark.parametrize("order", [1, 3])
def test_a_sheared_lattice_is_resampled_where_its_voxels_lie(order):
    affine = default_grid(4.0).affine.copy()
    affine[:3, 2] += (0.0, 0.5, 0.3)
    sheared, straight = Grid(default_grid(4.0).shape, affine), Grid.axis_aligned((20, 20, 20), 3.0, (3.0, 10.0, -20.0))
    moved = resample(_ramp(sheared), straight, MOVED, order=order)
    k, j, i = np.indices(straight.shape)
    there = MOVED.map(straight.to_world(np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)))
    assert np.abs(moved.array.ravel() - there @ _RAMP).max() < 1e-3
    assert np.allclose(resample(_ramp(sheared), sheared, order=order).array, _ramp(sheared).array, atol=1e-3)


def test_the_same_pair_gives_the_same_transform_bit_for_bit(fixed):
    moving = delayed_head(RigidTransform.from_euler((3, 1, -2), (2, 4, -3), CENTRE))
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    first_answer = register(fixed, moving, centre=CENTRE)
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        again = register(fixed, moving, centre=CENTRE)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert np.array_equal(first_answer.transform.matrix, again.transform.matrix)
    assert first_answer.two_start_mm == again.two_start_mm


def test_the_receiver_gain_changes_nothing(fixed):
    moving = delayed_head(MOVED)
    plain = register(fixed, moving, centre=CENTRE).transform
    scaled = register(fixed, moving.with_array(moving.array * np.float32(0.37)), centre=CENTRE).transform
    assert np.linalg.norm(plain.map(TARGETS) - scaled.map(TARGETS), axis=1).max() < 0.002  # where the steps stop


def test_without_a_given_centre_it_finds_its_own(fixed):
    truth = RigidTransform.from_euler((2, -3, 2), (3, 3, 3), CENTRE)
    assert target_error(register(fixed, delayed_head(truth)).transform, truth) < 0.1


def test_a_different_object_is_noticed(fixed):
    """Something is always returned; the figures say that it is no match."""
    k, j, i = np.indices(fixed.grid.shape)
    ball = ((k - 70) ** 2 + (j - 55) ** 2 + (i - 45) ** 2 < 40**2) * 800.0
    found = register(fixed, Volume(ball.astype(np.float32), fixed.grid), centre=CENTRE)
    assert not _agrees_with_itself(found)


def test_a_different_head_is_noticed(fixed):
    """Other proportions, other folds, other ventricles."""
    k, j, i = np.indices(fixed.grid.shape)
    points = fixed.grid.to_world(np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1))
    points = points * [0.93, 1.06, 0.95] + 4.0 * np.sin(points[:, [1, 2, 0]] / 21.0)
    source = head_volume(Head(noise=0.02, seed=5, ventricle_scale=1.6), default_grid(2.0))
    image = source.to_sitk()
    field = sitk.GetImageFromArray(
        (points - fixed.grid.to_world(np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1))).reshape(*i.shape, 3),
        isVector=True,
    )
    field.CopyInformation(image)
    bent = sitk.Resample(image, image, sitk.DisplacementFieldTransform(field), sitk.sitkLinear)
    found = register(fixed, Volume.from_sitk(bent), centre=CENTRE)
    assert not _agrees_with_itself(found)


def test_noise_alone_is_noticed(fixed):
    noise = np.abs(np.random.default_rng(4).normal(0, 50, fixed.grid.shape)).astype(np.float32)
    assert not _agrees_with_itself(register(fixed, fixed.with_array(noise), centre=CENTRE))


def test_a_slab_that_shows_too_little_of_the_head_is_refused(fixed):
    slab = Grid((10, *fixed.grid.shape[1:]), fixed.grid.affine @ _shifted_by((0, 0, 55)))
    with pytest.raises(InputRefused) as refused:
        register(fixed, Volume(fixed.array[55:65], slab), centre=CENTRE)
    assert refused.value.reasons[0].code == "REGISTRATION_FAILED"


@pytest.mark.parametrize("slices", [1, 3])
def test_a_baseline_of_a_few_slices_is_refused(slices, fixed):
    few = Grid((slices, *fixed.grid.shape[1:]), fixed.grid.affine @ _shifted_by((0, 0, 55)))
    with pytest.raises(InputRefused) as refused:
        register(Volume(fixed.array[55 : 55 + slices], few), fixed, centre=CENTRE)
    assert refused.value.reasons[0].code == "REGISTRATION_FAILED"


def test_a_centre_outside_the_baseline_is_refused(fixed):
    with pytest.raises(InputRefused) as refused:
        register(fixed, fixed, centre=CENTRE + 900.0)
    assert refused.value.reasons[0].code == "REGISTRATION_FAILED"


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, np.nan])
def test_a_series_of_one_value_is_refused(value, fixed):
    with pytest.raises(InputRefused) as refused:
        register(fixed, fixed.with_array(np.full_like(fixed.array, value)), centre=CENTRE)
    assert refused.value.reasons[0].code == "REGISTRATION_FAILED"


def test_a_series_with_an_undefined_voxel_is_refused(fixed):
    array = fixed.array.copy()
    array[60, 60, 45] = np.nan
    with pytest.raises(InputRefused):
        register(fixed, fixed.with_array(array), centre=CENTRE)


def test_a_copy_that_was_not_moved_is_found_unmoved(fixed):
    brightened = fixed.with_array(fixed.array * 1.3)
    found = register(fixed, brightened, centre=CENTRE)
    assert np.allclose(found.transform.matrix, np.eye(4), atol=1e-6)
    assert found.similarity_after == found.similarity_before > 1.9
    assert found.inverse_consistency_mm < 0.1


def _agrees_with_itself(found):
    return (
        quality.judge("REGISTRATION_INCONSISTENT", found.inverse_consistency_mm).passed
        and quality.judge("REGISTRATION_AMBIGUOUS", found.two_start_mm).passed
    )


_RAMP = np.array([0.3, -0.7, 0.5])


def _ramp(grid):
    k, j, i = np.indices(grid.shape)
    values = grid.to_world(np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)) @ _RAMP
    return Volume(values.reshape(grid.shape).astype(np.float32), grid)


def _shifted_by(ijk):
    matrix = np.eye(4)
    matrix[:3, 3] = ijk
    return matrix
