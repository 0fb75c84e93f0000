import numpy as np
import pytest

from service.errors import InputRefused
from service.imaging.anatomy import find_anatomy
from service.imaging.resampling import sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import GLOBES, Head, default_grid, head_volume


def _angle(a, b):
    return np.rad2deg(np.arccos(np.clip(abs(a @ b), -1, 1)))


def _share_in_fat(orbit, grid, pose=None):
    """Of the intraconal region found, how much is fat in the drawing."""
    truth = head_volume(Head(), grid, pose)
    return float(np.mean(sample(truth, orbit.fat_points) > 900))


def test_the_brain_has_an_adult_volume_and_its_ventricles_are_inside(anatomy):
    litres = anatomy.brain.sum() * np.prod(anatomy.grid.spacing) / 1e6
    assert 0.9 < litres < 1.6
    assert anatomy.lateral_ventricles.sum() * 8e-3 > 8
    assert not (anatomy.lateral_ventricles & ~anatomy.brain).any()
    assert not (anatomy.csf & ~anatomy.brain).any()
    assert not (anatomy.brain & ~anatomy.head).any()


def test_planes_lie_in_the_middle_and_through_the_ventricle_bodies(anatomy):
    assert _angle(anatomy.midsagittal.normal, np.array([1.0, 0, 0])) < 1.0
    assert anatomy.midsagittal.normal[0] > 0
    assert abs(anatomy.midsagittal.origin[0]) < 1.5
    assert anatomy.axial.normal[2] > 0.9
    assert 8 < anatomy.axial.origin[2] < 26
    assert abs(anatomy.axial.normal @ anatomy.midsagittal.normal) < 1e-6


def test_both_orbits_are_found_and_their_region_lies_in_fat(anatomy, grid):
    for name, orbit in (("left", anatomy.left_orbit), ("right", anatomy.right_orbit)):
        assert orbit is not None
        assert np.linalg.norm(orbit.globe_centre - GLOBES[name]) < 2.5
        assert len(orbit.fat_points) > 500
        assert _share_in_fat(orbit, grid) > 0.98


@pytest.mark.parametrize(
    ("turn", "orientation"),
    [((30, 0, 0), "axial"), ((-28, 5, 0), "sagittal"), ((5, 30, 5), "coronal"), ((0, -5, 30), "oblique")],
)
def test_a_turned_head_in_any_slice_orientation_is_understood(turn, orientation):
    pose = RigidTransform.from_euler(turn, (10.0, -15.0, 8.0))
    grid = _orientation(orientation)
    volume = head_volume(Head(noise=0.02, bias=0.1, seed=3), grid, pose)
    anatomy = find_anatomy(volume)
    rotation = pose.matrix[:3, :3]
    assert _angle(anatomy.midsagittal.normal, rotation @ np.array([1.0, 0, 0])) < 2.0
    for name, orbit in (("left", anatomy.left_orbit), ("right", anatomy.right_orbit)):
        assert orbit is not None
        assert np.linalg.norm(orbit.globe_centre - pose.map(GLOBES[name][None])[0]) < 3.0
        assert _share_in_fat(orbit, grid, pose) > 0.95


def _orientation(name: str) -> Grid:
    upright = default_grid(2.0)
    centre = upright.centre + np.array([10.0, -15.0, 8.0])
    columns = {
        "axial": np.eye(3),
        "sagittal": np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]),
        "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
        "oblique": RigidTransform.from_euler((12, -9, 7), (0, 0, 0)).matrix[:3, :3],
    }[name]
    n = 140
    affine = np.eye(4)
    affine[:3, :3] = columns * 2.0
    affine[:3, 3] = centre - affine[:3, :3] @ np.full(3, (n - 1) / 2)
    return Grid((n, n, n), affine)


def test_gain_changes_nothing_that_is_found(baseline, anatomy):
    louder = find_anatomy(baseline.with_array(baseline.array * np.float32(8)))
    assert np.array_equal(louder.brain, anatomy.brain)
    assert np.array_equal(louder.csf, anatomy.csf)
    assert np.array_equal(louder.left_orbit.fat_points, anatomy.left_orbit.fat_points)
    assert np.array_equal(louder.axial.origin, anatomy.axial.origin)


def test_a_defaced_head_has_no_orbits(grid):
    anatomy = find_anatomy(head_volume(Head(noise=0.02, defaced=True), grid))
    assert anatomy.left_orbit is None
    assert anatomy.right_orbit is None


def test_large_ventricles_are_outlined(grid, anatomy):
    large = find_anatomy(head_volume(Head(noise=0.02, ventricle_scale=1.5), grid))
    assert large.lateral_ventricles.sum() > 1.8 * anatomy.lateral_ventricles.sum()


@pytest.mark.parametrize("kind", ["empty", "noise", "small ball"])
def test_what_is_not_a_head_is_refused(kind, grid):
    array = np.zeros(grid.shape, dtype=np.float32)
    if kind == "noise":
        array = np.random.default_rng(0).rayleigh(10, grid.shape).astype(np.float32)
    if kind == "small ball":
        k, j, i = np.indices(grid.shape)
        array[(k - 50) ** 2 + (j - 50) ** 2 + (i - 40) ** 2 < 25**2] = 500
    with pytest.raises(InputRefused) as refused:
        find_anatomy(Volume(array, grid))
    assert refused.value.reasons[0].code == "NOT_A_HEAD"


def test_the_order_of_slices_rows_and_columns_changes_nothing_to_the_last_bit(baseline, anatomy):
    affine = baseline.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (baseline.array.shape[0] - 1)
    affine[:3, 2] *= -1
    backwards = Volume(baseline.array[::-1].transpose(1, 2, 0), _with_axes(affine, baseline.array.shape, (2, 0, 1)))
    found = find_anatomy(backwards)
    assert np.array_equal(found.brain, anatomy.brain)
    assert np.allclose(found.left_orbit.fat_points, anatomy.left_orbit.fat_points, atol=1e-9)
    assert np.allclose(found.axial.origin, anatomy.axial.origin, atol=1e-9)


def _with_axes(affine: np.ndarray, shape: tuple[int, int, int], columns: tuple[int, int, int]) -> Grid:
    """The grid after ``array.transpose(1, 2, 0)``: i runs along the old k, j along i, k along j."""
    turned = affine.copy()
    turned[:3, :3] = affine[:3, columns]
    return Grid((shape[1], shape[2], shape[0]), turned)
