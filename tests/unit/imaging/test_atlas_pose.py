import numpy as np
import pytest

from service.errors import InputRefused
from service.imaging.anatomy import find_anatomy
from service.imaging.atlas_pose import NoPoseError, find_pose
from service.imaging.head_atlas import head_atlas, pack, unpack
from service.imaging.resampling import antialiased
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, default_grid, head_volume


def _as_scanned(pose: RigidTransform) -> Volume:
    upright = default_grid(2.0)
    grid = Grid.axis_aligned((130, 130, 130), 2.0, pose.map(upright.centre[None])[0])
    return antialiased(head_volume(Head(noise=0.02, seed=4), grid, pose), 2.0)


@pytest.mark.parametrize("turn", [(30, 0, 0), (-30, 0, 0), (0, 30, 0), (0, 0, -30), (18, -17, 17)])
def test_a_head_turned_as_far_as_promised_is_turned_back(turn):
    straight = find_pose(_as_scanned(RigidTransform.identity())).upright
    truth = RigidTransform.from_euler(turn, (15.0, -10.0, 20.0))
    found = find_pose(_as_scanned(truth)).upright
    assert (found @ straight.inverse() @ truth.inverse()).angle_deg < 6.0
    assert np.linalg.norm(found.map([[0, 14, 8]]) - truth.map(straight.map([[0, 14, 8]]))) < 8.0


def test_the_same_volume_gives_the_same_pose_to_the_last_bit(baseline):
    first, again = (find_pose(antialiased(baseline, 2.0)) for _ in range(2))
    assert np.array_equal(first.matrix, again.matrix)
    assert first.likeness == again.likeness


def test_shading_costs_no_likeness(grid):
    even, shaded = (find_pose(antialiased(head_volume(Head(bias=b, seed=1), grid), 2.0)) for b in (0.0, 0.4))
    assert abs(even.likeness - shaded.likeness) < 0.05


def test_a_head_whose_contrast_is_reversed_is_refused_with_its_likeness(baseline):
    inside = baseline.array > 100
    reversed_ = np.where(inside, 1150 - baseline.array, 0).clip(0).astype(np.float32)
    with pytest.raises(InputRefused) as refused:
        find_anatomy(baseline.with_array(reversed_))
    (reason,) = refused.value.reasons
    assert reason.code == "NOT_A_HEAD"
    assert "average T1 head" in reason.message


def test_an_empty_volume_has_no_pose(grid):
    with pytest.raises(NoPoseError):
        find_pose(Volume(np.zeros(grid.shape, dtype=np.float32), grid))


def test_the_shipped_atlas_is_one_symmetric_head():
    atlas = head_atlas()
    for volume in (atlas.head, atlas.brain, atlas.ventricles):
        assert np.abs(volume.array - volume.array[:, :, ::-1]).max() < 0.02
    litres = float(atlas.brain.array.sum()) * 64 / 1e6
    assert 1.1 < litres < 1.6
    assert 5 < float(atlas.ventricles.array.sum()) * 64 / 1e3 < 40
    assert atlas.ventricles.array[atlas.brain.array < 0.5].max() == 0


def test_what_is_packed_comes_back():
    atlas = head_atlas()
    stored = pack(atlas)
    back = unpack(stored)
    assert all(np.array_equal(a, b) for a, b in zip(stored.values(), pack(back).values(), strict=True))
    assert back.head.grid.same_as(atlas.head.grid)
