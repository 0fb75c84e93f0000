"""Evaluate a volume on another grid, through a fixed -> moving transform."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Volume

_FILTER_MARGIN = 16  # voxels; beyond it neither the Gaussian nor the spline feels a cut
_INTERPOLATORS = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}


def resample(
    volume: Volume,
    grid: Grid,
    transform: RigidTransform | None = None,
    *,
    order: int = 1,
    outside: float = 0.0,
    antialias: bool = False,
) -> Volume:
    """`volume` evaluated at the voxel centres of `grid`.

    Parameters
    ----------
    transform
        Maps points of `grid`'s frame (fixed) to `volume`'s frame (moving); identity when None.
    order
        0 nearest, 1 linear, 3 cubic B-spline.
    antialias
        Smooth first along axes where `grid` is coarser, with a Gaussian of half the ratio in
        source voxels, so that thin structures average instead of flickering.
    """
    transform = transform or RigidTransform.identity()
    needed = _needed_part(volume, grid, transform, margin=2 if order < 3 and not antialias else _FILTER_MARGIN)
    if needed is None:
        return Volume(np.full(grid.shape, outside, dtype=np.float32), grid, volume.frame_of_reference_uid)
    image, reference, mapping = _placed(needed, grid, transform)
    if antialias:
        image = _smooth_for(image, needed.grid, grid)
    moved = sitk.Resample(image, reference, mapping, _INTERPOLATORS[order], float(outside), sitk.sitkFloat32)
    return Volume(sitk.GetArrayFromImage(moved), grid, volume.frame_of_reference_uid)


def antialiased(volume: Volume, spacing_mm: float) -> Volume:
    """`volume` on its own grid, smoothed as `resample` would for any grid of that spacing.

    For whoever evaluates one volume on several coarse grids.
    """
    image = sitk.GetImageFromArray(volume.array)
    # all that the filter looks at; without the last digits, in which header and memory may differ
    image.SetSpacing([round(step, 6) for step in volume.grid.spacing])
    return volume.with_array(sitk.GetArrayFromImage(_smooth(image, np.full(3, spacing_mm))))


def sample(volume: Volume, points_lps: ArrayLike, *, outside: float = float("nan")) -> Float32:
    """Linear interpolation at ``(N, 3)`` LPS mm points; `outside` beyond the voxel centres."""
    ijk = volume.grid.to_index(points_lps)
    nk, nj, ni = volume.grid.shape
    low = np.floor(ijk).astype(np.int64)
    limits = np.array([ni, nj, nk])
    inside = ((ijk >= -1e-6) & (ijk <= limits - 1 + 1e-6)).all(axis=1)
    low = np.clip(low, 0, np.maximum(limits - 2, 0))
    frac = np.clip(ijk - low, 0.0, 1.0)
    total = np.zeros(len(ijk))
    for corner in range(8):
        step = np.array([corner & 1, (corner >> 1) & 1, (corner >> 2) & 1])
        weight = np.prod(np.where(step, frac, 1 - frac), axis=1)
        i, j, k = np.minimum(low + step, limits - 1).T
        total += weight * volume.array[k, j, i]
    return np.where(inside, total, outside).astype(np.float32)


def _needed_part(volume: Volume, grid: Grid, transform: RigidTransform, margin: int) -> Volume | None:
    """The box of `volume` that the voxels of `grid` fall into, widened by `margin` voxels; None if there is none."""
    ends = [(0, n - 1) for n in reversed(grid.shape)]
    corners = np.array([[i, j, k] for i in ends[0] for j in ends[1] for k in ends[2]])
    ijk = volume.grid.to_index(transform.map(grid.to_world(corners)))
    size = np.array(volume.grid.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0)).astype(int) - margin, 0, size)
    high = np.clip(np.ceil(ijk.max(axis=0)).astype(int) + margin + 1, 0, size)
    if (high - low < 1).any():
        return None
    return volume.part(low, high)


def _placed(volume: Volume, grid: Grid, transform: RigidTransform) -> tuple[sitk.Image, sitk.Image, sitk.Transform]:
    """ITK's image, empty reference and map from reference to image.

    ITK cannot place a sheared lattice; where one is, both get unit voxels at the origin and the map does it all.
    """
    reference = sitk.Image([int(n) for n in reversed(grid.shape)], sitk.sitkUInt8)
    if volume.grid.is_sheared or grid.is_sheared:
        to_index = np.linalg.inv(volume.grid.affine) @ transform.matrix @ grid.affine
        mapping = sitk.AffineTransform(to_index[:3, :3].ravel().tolist(), to_index[:3, 3].tolist())
        return sitk.GetImageFromArray(volume.array), reference, mapping
    return volume.to_sitk(), grid.lay_out(reference), transform.to_sitk()


def _smooth_for(image: sitk.Image, source: Grid, grid: Grid) -> sitk.Image:
    # coarsest target step seen along each source axis
    return _smooth(image, np.abs(source.directions.T @ grid.directions) @ np.array(grid.spacing))


def _smooth(image: sitk.Image, steps_mm: Float64) -> sitk.Image:
    for axis, step in enumerate(steps_mm):
        ratio = step / image.GetSpacing()[axis]
        if ratio > 1.2:
            sigma = 0.5 * np.sqrt(ratio**2 - 1) * image.GetSpacing()[axis]
            image = sitk.RecursiveGaussian(
                image, float(sigma), False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis
            )
    return image
