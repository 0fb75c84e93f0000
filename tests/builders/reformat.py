"""The same voxels stored another way: slices along another axis, or the patient lying askew."""

from __future__ import annotations

import numpy as np

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.dicom import ORIENTATIONS

ASKEW = RigidTransform.from_euler((14.0, -9.0, 11.0), (6.0, -8.0, 4.0))


def stored_as(volume: Volume, orientation: str) -> Volume:
    """An axis-aligned volume with its axes exchanged and reversed: every voxel keeps its value and its place.

    ``oblique`` is no reordering: there the voxels keep their order and the patient turns by `ASKEW`.
    """
    if orientation == "oblique":
        grid = volume.grid
        return Volume(volume.array, Grid(grid.shape, ASKEW.matrix @ grid.affine), volume.frame_of_reference_uid)
    row, column = (np.asarray(direction, dtype=float) for direction in ORIENTATIONS[orientation])
    return _reordered(volume, np.stack([row, column, np.cross(row, column)], axis=1))


def backwards(volume: Volume) -> Volume:
    """Slices numbered against the normal of their planes, as some scanners do; a left-handed grid."""
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_world([[0, 0, volume.grid.shape[0] - 1]])[0]
    affine[:3, 2] *= -1
    return Volume(volume.array[::-1].copy(), Grid(volume.grid.shape, affine), volume.frame_of_reference_uid)


def _reordered(volume: Volume, wanted: np.ndarray) -> Volume:
    cosines = volume.grid.directions.T @ wanted
    assert np.allclose(np.abs(cosines), np.abs(cosines).round()), "only an axis-aligned volume can be reordered"
    axes = np.abs(cosines).argmax(axis=0)  # which of the old (i, j, k) each new one runs along
    reversed_ = cosines[axes, range(3)] < 0
    start = np.zeros(3)
    start[axes] = np.where(reversed_, np.array(volume.grid.shape)[2 - axes] - 1, 0)
    affine = np.eye(4)
    affine[:3, :3] = volume.grid.affine[:3, axes] * np.where(reversed_, -1.0, 1.0)
    affine[:3, 3] = volume.grid.to_world(start[None])[0]
    array = volume.array.transpose([2 - axis for axis in axes[::-1]])
    array = array[tuple(slice(None, None, -1 if back else 1) for back in reversed_[::-1])].copy()
    return Volume(array, Grid(array.shape, affine), volume.frame_of_reference_uid)
