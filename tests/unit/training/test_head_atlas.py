import numpy as np

from service.imaging.head_atlas import MNI_TO_ATLAS, unpack
from service.imaging.resampling import sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, default_grid, head_volume
from training.head_atlas import TissueMaps, make_atlas, write_atlas


def _maps(head: Volume) -> TissueMaps:
    """Tissue of the drawn head as ICBM152 would give it: inside the skull, as bright as brain."""
    points = head.grid.to_world(np.argwhere(np.ones(head.grid.shape, dtype=bool))[:, ::-1])
    inside = (((points - [0, 0, 2]) / [60, 82, 72]) ** 2).sum(axis=1).reshape(head.grid.shape) < 1
    tissue = (inside & (head.array > 350) & (head.array < 650)).astype(np.float32)
    affine = np.diag([MNI_TO_ATLAS] * 3 + [1.0]) @ head.grid.affine
    return TissueMaps(tissue=Volume(tissue, Grid(head.grid.shape, affine)))


def test_an_atlas_of_known_heads_knows_brain_and_ventricles_and_is_written(tmp_path):
    head = head_volume(Head(ventricle_scale=1.3), default_grid(2.0, (0.0, 0.0, 0.0)))
    pose = RigidTransform.from_euler((8, -6, 10), (4, 5, -6))
    other = head_volume(Head(ventricle_scale=1.3, gain=250.0), default_grid(2.0), pose)
    atlas = make_atlas(_maps(head), head, [other])
    ventricle, white, air = (np.array([p]) * MNI_TO_ATLAS for p in ((26.0, 24.0, 17.0), (40.0, 0, 30), (0, 0, 120.0)))
    assert sample(atlas.ventricles, ventricle)[0] > 0.2 > sample(atlas.ventricles, white)[0]
    assert sample(atlas.brain, white)[0] > 0.95
    assert 0.75 < sample(atlas.head, white)[0] < 1.25  # of the median of grey and white
    assert np.nan_to_num(sample(atlas.brain, air)[0]) == 0
    write_atlas(atlas, tmp_path / "atlas.npz")
    with np.load(tmp_path / "atlas.npz") as stored:
        back = unpack(dict(stored))
    assert np.abs(back.brain.array - atlas.brain.array).max() < 0.003
