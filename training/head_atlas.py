"""Makes `service/imaging/head_atlas.npz`: averages at 4 mm of heads whose parts are known.

Brain, fluid and ventricles come from the tissue probabilities of ICBM152 2009a (symmetric); the signal from whole T1
heads, each laid over the growing average, together with its mirror image. The images are the user's own to obtain:
PyPI's ``nilearn`` carries the ICBM152 volumes (`nilearn/datasets/data`), Debian's ``mricron-data`` has Colin27
(``ch2.nii.gz``), which lies in that space already. The file that ships was made with one other head and an earlier
state of `atlas_pose`; made again, its signal differs by 0.004 of the brain's on average, 0.17 at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from service.imaging.atlas_pose import pose_over
from service.imaging.head_atlas import ATLAS_SPACING_MM, MNI_TO_ATLAS, HeadAtlas, pack
from service.imaging.head_mask import WORKING_SPACING_MM
from service.imaging.resampling import antialiased, resample
from service.imaging.volume import Float32, Float64, Grid, Mask, Volume
from training.simulate.templates import read_nifti

_LOW_LPS = (-92.0, -108.0, -84.0)
_SHAPE = (46, 58, 47)  # k, j, i
_TISSUES = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_LARGEST_SIGNAL = 2.5
_CLOSED_MM = 8  # sulci and cisterns belong to the brain's hull
_VENTRICLE_DEPTH_MM = 14.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueMaps:
    """ICBM152 in atlas space: probability of brain tissue on its own 1 mm lattice (0.92 mm after shrinking)."""

    tissue: Volume

    @staticmethod
    def read(folder: Path) -> TissueMaps:
        """From nilearn's NIfTI files of grey and white matter."""
        grey, white = (read_nifti(folder / _TISSUES.format(name)) for name in ("gm", "wm"))
        return TissueMaps(tissue=_shrunk(grey.with_array((grey.array + white.array) / np.float32(255))))


def make_atlas(maps: TissueMaps, in_mni_space: Volume, others: Sequence[Volume]) -> HeadAtlas:
    """The atlas of one head in MNI space and any number of others, LPS mm, any pose within 30 degrees."""
    grid = _lattice()
    hull, ventricles = _hull_and_ventricles(maps.tissue)
    brain = resample(maps.tissue.with_array(hull.astype(np.float32)), grid, antialias=True)
    known = HeadAtlas(
        head=_signal(_shrunk(in_mni_space), np.eye(4), grid, brain),
        brain=brain,
        ventricles=resample(maps.tissue.with_array(ventricles), grid, antialias=True),
    )
    heads = [known.head.array]
    for other in others:
        heads.append(_signal(other, pose_over(antialiased(other, WORKING_SPACING_MM), known).matrix, grid, brain).array)
    return HeadAtlas(head=brain.with_array(_mean_of_known(heads)), brain=brain, ventricles=known.ventricles)


def write_atlas(atlas: HeadAtlas, path: Path) -> None:
    """As `service.imaging.head_atlas.head_atlas` reads it."""
    np.savez_compressed(path, allow_pickle=False, **pack(atlas))


def _lattice() -> Grid:
    affine = np.diag([ATLAS_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = _LOW_LPS
    return Grid(_SHAPE, affine)


def _shrunk(volume: Volume) -> Volume:
    return volume.moved(np.diag([MNI_TO_ATLAS] * 3 + [1.0]))


def _hull_and_ventricles(tissue: Volume) -> tuple[Mask, Float32]:
    pad = _CLOSED_MM + 4
    closed = ndimage.binary_closing(np.pad(tissue.array > 0.5, pad), iterations=_CLOSED_MM)
    hull = ndimage.binary_fill_holes(closed)[pad:-pad, pad:-pad, pad:-pad]
    nk, _, ni = tissue.grid.shape
    affine = tissue.grid.affine
    x = np.abs(affine[0, 3] + affine[0, 0] * np.arange(ni))[None, None, :]
    z = (affine[2, 3] + affine[2, 2] * np.arange(nk))[:, None, None]
    fluid = np.clip(1 - tissue.array, 0, 1) * hull
    third_and_cisterns = ((x < 4.5) & (z < 9)) | (x < 2)
    deep = ndimage.distance_transform_edt(hull) > _VENTRICLE_DEPTH_MM
    labels, _ = ndimage.label((fluid > 0.4) & deep & ~third_and_cisterns)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    both = np.isin(labels, np.argsort(sizes)[-2:])  # left and right are the largest deep fluid
    near = ndimage.binary_dilation(both, iterations=2)
    return hull, np.asarray(fluid * near * ~np.broadcast_to(third_and_cisterns, hull.shape), dtype=np.float32)


def _signal(head: Volume, matrix: Float64, grid: Grid, brain: Volume) -> Volume:
    """`head` in brain units on the atlas's lattice, averaged with its mirror image; -1 where it shows nothing."""
    in_atlas = head.moved(np.asarray(np.linalg.inv(matrix), dtype=np.float64))
    shown = resample(in_atlas, grid, antialias=True).array
    points = grid.to_world(np.argwhere(np.ones(grid.shape, dtype=bool))[:, ::-1])
    covered = in_atlas.grid.holds(points).reshape(grid.shape)
    level = float(np.median(shown[(brain.array > 0.9) & covered]))
    scaled = np.where(covered, np.clip(shown / level, 0, _LARGEST_SIGNAL), -1).astype(np.float32)
    return brain.with_array(_mean_of_known([scaled, scaled[:, :, ::-1]]))


def _mean_of_known(arrays: Sequence[Float32]) -> Float32:
    stack = np.stack(arrays)
    known = stack >= 0
    total = np.where(known, stack, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), -1).astype(np.float32)
