"""Target error of the rigid registration against known motion, on procedural heads."""

import numpy as np
import pytest

from service.errors import InputRefused
from service.imaging import quality
from service.imaging.registration import register
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, default_grid, head_volume

CENTRE = np.array([0.0, 2.0, 8.0])
TARGETS = np.array([[x, y, z] for x in (-50.0, 0, 50) for y in (-60.0, 0, 60) for z in (-40.0, 0, 50)]) + CENTRE


@pytest.fixture(scope="module")
def fixed():
    return head_volume(Head(noise=0.02, seed=1), default_grid(2.0))


def delayed_head(pose, grid=None):
    head = Head(noise=0.03, seed=2, tracer={"basal": 0.25}, gain=1600.0, bias=0.1)
    return head_volume(head, grid or default_grid(2.0), pose)


def target_error(found, truth):
    return float(np.linalg.norm(found.map(TARGETS) - truth.map(TARGETS), axis=1).mean())


@pytest.mark.parametrize(
    ("angles", "shift"), [((3, -2, 4), (5, -4, 6)), ((12, -8, 10), (12, -10, 15)), ((0, 0, 20), (0, 25, -10))]
)
def test_known_motion_is_recovered_despite_tracer_gain_shading_and_noise(angles, shift, fixed):
    truth = RigidTransform.from_euler(angles, shift, CENTRE)
    found = register(fixed, delayed_head(truth), centre=CENTRE)
    assert target_error(found.transform, truth) < 0.4  # mm, on 2 mm voxels
    assert found.inverse_consistency_mm < 0.8
    assert found.two_start_mm < 0.8
    assert found.similarity_after > found.similarity_before


def test_another_matrix_and_slice_orientation_change_nothing(fixed):
    truth = RigidTransform.from_euler((4, 3, -5), (6, -3, 4), CENTRE)
    affine = np.array([[0, 0, -1.6, 100.0], [1.5, 0, 0, -125], [0, -1.5, 0, 115], [0, 0, 0, 1]])
    sagittal = Grid((126, 170, 170), affine)
    found = register(fixed, delayed_head(truth, sagittal), centre=CENTRE)
    assert target_error(found.transform, truth) < 0.4


def test_the_same_pair_gives_the_same_transform_bit_for_bit(fixed):
    moving = delayed_head(RigidTransform.from_euler((3, 1, -2), (2, 4, -3), CENTRE))
    first, second = register(fixed, moving, centre=CENTRE), register(fixed, moving, centre=CENTRE)
    assert np.array_equal(first.transform.matrix, second.transform.matrix)


def test_without_a_given_centre_it_finds_its_own(fixed):
    truth = RigidTransform.from_euler((2, -3, 2), (3, 3, 3), CENTRE)
    assert target_error(register(fixed, delayed_head(truth)).transform, truth) < 0.4


def test_a_different_object_is_noticed(fixed):
    """Something is always returned; the figures say that it is no match."""
    k, j, i = np.indices(fixed.grid.shape)
    ball = ((k - 70) ** 2 + (j - 55) ** 2 + (i - 45) ** 2 < 40**2) * 800.0
    found = register(fixed, Volume(ball.astype(np.float32), fixed.grid), centre=CENTRE)
    assert not (
        quality.judge("REGISTRATION_INCONSISTENT", found.inverse_consistency_mm).passed
        and quality.judge("REGISTRATION_AMBIGUOUS", found.two_start_mm).passed
    )


def test_an_empty_series_is_refused(fixed):
    with pytest.raises(InputRefused) as refused:
        register(fixed, fixed.with_array(np.zeros_like(fixed.array)), centre=CENTRE)
    assert refused.value.reasons[0].code == "REGISTRATION_FAILED"


def test_a_copy_that_was_not_moved_is_found_unmoved(fixed):
    brightened = fixed.with_array(fixed.array * 1.3)
    found = register(fixed, brightened, centre=CENTRE)
    assert np.allclose(found.transform.matrix, np.eye(4), atol=1e-6)
    assert found.similarity_after == found.similarity_before > 1.9
    assert found.inverse_consistency_mm < 0.5
