"""The whole imaging chain on the real head, with a delayed series made from it."""

import numpy as np
import pytest

from service.imaging import quality, quality_pair, quality_scan, quality_tracer
from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.registration import register
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, default_grid, head_volume
from tests.builders.real_head import delayed_from, load_real_head, needs_head
from tests.builders.second_scan import Conditions, real_subject, second_scan

pytestmark = [*needs_head, pytest.mark.slow, pytest.mark.xdist_group("real head anatomy")]


@pytest.fixture(scope="module")
def head():
    return load_real_head()


@pytest.fixture(scope="module")
def anatomy(head):
    return find_anatomy(head)


def _verdicts(head, delayed, anatomy, registration):
    pair = quality.align(head, delayed, registration.transform, anatomy)
    before = measure_orbital_fat(head, anatomy)
    after = measure_orbital_fat(delayed, anatomy, registration.transform)
    return (
        quality_scan.check_volume(head)
        + quality_scan.check_anatomy(head, anatomy)
        + quality_pair.check_registration(registration, pair, anatomy, baseline=head, delayed=delayed)
        + quality_pair.check_normalisation(pair, anatomy, fat_baseline=before, fat_delayed=after)
        + quality_tracer.check_tracer(pair, anatomy, fat_baseline=before.median, fat_delayed=after.median)
    )


def test_anatomy_is_where_a_reader_sees_it(anatomy):
    """Globe centres read off the images by eye, LPS mm."""
    assert np.linalg.norm(anatomy.left_orbit.globe_centre - [30, -64, 11]) < 4
    assert np.linalg.norm(anatomy.right_orbit.globe_centre - [-27, -65, 9]) < 4
    assert 1.1 < anatomy.brain.sum() * 8e-6 < 1.6
    assert 6 < anatomy.lateral_ventricles.sum() * 8e-3 < 30
    assert len(anatomy.left_orbit.fat_points) > 200
    assert len(anatomy.right_orbit.fat_points) > 200
    for region, below_centre, millilitres in (
        (anatomy.third_ventricle, (0, 20), (0.2, 3)),
        (anatomy.suprasellar, (14, 36), (1, 6)),
    ):
        points = anatomy.grid.to_world(np.argwhere(region)[:, ::-1])
        assert millilitres[0] < region.sum() * 8e-3 < millilitres[1]
        assert abs((points - anatomy.midsagittal.origin) @ anatomy.midsagittal.normal).mean() < 6
        depth = -(points - anatomy.brain_centre).mean(axis=0) @ anatomy.axial.normal
        assert below_centre[0] < depth < below_centre[1]
    assert not (anatomy.third_ventricle & anatomy.lateral_ventricles).any()


@pytest.mark.parametrize("turn", [(30, 0, 0), (-30, 0, 0), (0, 30, 0), (0, 0, 30), (-20, 20, -20)])
def test_a_turned_head_has_its_parts_in_the_same_places(turn, head, anatomy):
    pose = RigidTransform.from_euler(turn, (5.0, -8.0, 10.0), head.grid.centre)
    turned = find_anatomy(Volume(head.array, Grid(head.grid.shape, pose.matrix @ head.grid.affine)))
    assert np.linalg.norm(turned.brain_centre - pose.map(anatomy.brain_centre[None])[0]) < 2.0
    for there, here in ((turned.left_orbit, anatomy.left_orbit), (turned.right_orbit, anatomy.right_orbit)):
        assert np.linalg.norm(there.globe_centre - pose.map(here.globe_centre[None])[0]) < 2.0
    assert turned.lateral_ventricles.sum() == pytest.approx(anatomy.lateral_ventricles.sum(), rel=0.15)
    assert turned.brain.sum() == pytest.approx(anatomy.brain.sum(), rel=0.05)
    before, after = measure_orbital_fat(head, anatomy), measure_orbital_fat(head, turned, pose.inverse())
    assert after.median == pytest.approx(before.median, rel=0.03)


@pytest.mark.parametrize(
    ("angles", "shift"), [((3, -2, 4), (5, -4, 6)), ((12, -8, 10), (15, -10, 12)), ((-8, 3, -6), (-10, 8, -12))]
)
def test_motion_is_recovered_and_every_check_passes(angles, shift, head, anatomy):
    truth = RigidTransform.from_euler(angles, shift, anatomy.brain_centre)
    delayed = delayed_from(head, truth)
    found = register(head, delayed, centre=anatomy.brain_centre)
    points = anatomy.grid.to_world(np.argwhere(anatomy.brain)[::50, ::-1])
    error = np.linalg.norm(found.transform.map(points) - truth.map(points), axis=1)
    assert error.mean() < 0.2
    assert error.max() < 0.4
    assert _verdicts(head, delayed, anatomy, found).rejections == ()


def test_without_tracer_only_that_is_said(head, anatomy):
    truth = RigidTransform.from_euler((4, 2, -3), (3, -5, 4), anatomy.brain_centre)
    delayed = delayed_from(head, truth, tracer=0.0)
    found = register(head, delayed, centre=anatomy.brain_centre)
    assert {r.code for r in _verdicts(head, delayed, anatomy, found).rejections} == {"NO_TRACER", "TRACER_IN_NOISE"}


def test_tracer_that_has_come_no_further_than_the_lower_stem_is_seen(head, anatomy):
    """As 1-2 h after the injection: in the cisterna magna and in front of the stem, outside the brain's outline."""
    truth = RigidTransform.from_euler((2, -1, 3), (2, 4, -3), anatomy.brain_centre)
    delayed = second_scan(real_subject(head), Conditions(pose=truth, early=0.4, bias=0.1, neck_deg=4.0))
    found = register(head, delayed, centre=anatomy.brain_centre)
    assert _verdicts(head, delayed, anatomy, found).rejections == ()


def test_another_head_is_refused_as_another_head(head, anatomy):
    other = head_volume(Head(noise=0.02), default_grid(2.0))
    found = register(head, other, centre=anatomy.brain_centre)
    assert "NOT_THE_SAME_HEAD" in {r.code for r in _verdicts(head, other, anatomy, found).rejections}
