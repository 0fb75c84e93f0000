"""A coarser, smoothed copy of a volume that can be asked for values and slopes at any points.

Block means and a Gaussian along the volume's own axes, then trilinear interpolation: the volume is never
resampled, so that its matrix, orientation and shear do not matter and a large matrix costs one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.volume import Float32, Float64, Grid, Mask, Volume

_NEGLIGIBLE = 0.3  # voxels; a Gaussian narrower than this has no neighbours to speak of
_REACH = 2.6  # standard deviations
_COARSER = 1.25  # a voxel may come out this much larger than asked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readings:
    """What a copy shows at N points.

    Attributes
    ----------
    values
        ``(N,)``, meaningless where not `inside`.
    slopes
        ``(N, 3)``, signal per mm along LPS.
    inside
        ``(N,)``: within the outermost voxel centres.
    """

    values: Float64
    slopes: Float64
    inside: Mask


@dataclass(frozen=True, slots=True, eq=False)
class SmoothedCopy:
    """`volume` already coarsened and smoothed."""

    volume: Volume

    def read(self, points_lps: Float64) -> Readings:
        """Trilinear values and their exact derivatives at ``(N, 3)`` LPS mm points."""
        to_index = np.linalg.inv(self.volume.grid.affine)
        nk, nj, ni = self.volume.grid.shape
        ijk = points_lps @ to_index[:3, :3].T + to_index[:3, 3]
        low = np.floor(ijk)
        last = np.array([ni, nj, nk]) - 1
        inside = ((low >= 0) & (low < last)).all(axis=1)
        low = np.clip(low, 0, np.maximum(last - 1, 0))
        u, v, w = (ijk - low).T
        first = (low @ np.array([1, ni, ni * nj])).astype(np.int64)
        steps = np.where(last > 0, [1, ni, ni * nj], 0)
        flat = self.volume.array.reshape(-1)
        # the cell's corners by (k, j), each a pair along i: value at i, and the step to i + 1
        at, rise = [], []
        for corner in (0, steps[1], steps[2], steps[1] + steps[2]):
            here = flat[first + corner].astype(np.float64)
            at.append(here)
            rise.append(flat[first + corner + steps[0]] - here)
        edge = [a + u * r for a, r in zip(at, rise, strict=True)]
        across = (edge[1] - edge[0], edge[3] - edge[2])
        face = (edge[0] + v * across[0], edge[2] + v * across[1])
        up = face[1] - face[0]
        near, far = rise[0] + v * (rise[1] - rise[0]), rise[2] + v * (rise[3] - rise[2])
        along = np.stack([near + w * (far - near), across[0] + w * (across[1] - across[0]), up], axis=1)
        return Readings(values=face[0] + w * up, slopes=along @ to_index[:3, :3], inside=inside)


def shrink(volume: Volume, spacing_mm: float) -> Volume:
    """Means over blocks of whole voxels, as many as come to `spacing_mm` along each axis, or up to a quarter more.

    The last, incomplete block of an axis is left out. An axis that is coarse enough stays as it is.
    """
    array, affine = volume.array, volume.grid.affine.copy()
    factors = [
        max(1, min(int(_COARSER * spacing_mm / s), n))
        for s, n in zip(volume.grid.spacing, array.shape[::-1], strict=True)
    ]
    for axis, factor in zip((0, 1, 2), reversed(factors), strict=True):  # slices first: whole blocks of memory
        if factor > 1:
            array = _block_means(array, axis, factor)
    affine[:3, 3] = volume.grid.to_world(np.array([[(f - 1) / 2 for f in factors]]))[0]
    affine[:3, :3] *= np.array(factors)
    return Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine))


def smooth(volume: Volume, sigma_mm: float, *, already_mm: float = 0.0) -> SmoothedCopy:
    """Blurred until a point source has the standard deviation `sigma_mm` along each axis.

    Counted are the voxel's own width, as a block of uniform sensitivity, and `already_mm`, an earlier blur.
    Two volumes with different voxels so come out equally sharp.
    """
    array = volume.array
    for axis, spacing in zip((2, 1, 0), volume.grid.spacing, strict=True):
        missing = max(sigma_mm**2 - max(spacing**2 / 12, already_mm**2), 0.0)
        sigma = float(np.sqrt(missing)) / spacing
        if sigma > _NEGLIGIBLE:
            array = _blur(array, axis, sigma)
    return SmoothedCopy(volume.with_array(array))


def crop(volume: Volume, points_lps: Float64, margin_mm: float) -> Volume:
    """The part of `volume` around ``(N, 3)`` LPS mm points; at least one voxel."""
    ijk = volume.grid.to_index(points_lps)
    margin = margin_mm / np.array(volume.grid.spacing)
    size = np.array(volume.grid.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0) - margin).astype(int), 0, size - 1)
    high = np.clip(np.ceil(ijk.max(axis=0) + margin).astype(int) + 1, low + 1, size)
    return volume.part(low, high)


def _block_means(array: Float32, axis: int, factor: int) -> Float32:
    whole = array.shape[axis] // factor
    array = array[_along(axis, slice(whole * factor))]
    return np.asarray(array.reshape(*array.shape[:axis], whole, factor, *array.shape[axis + 1 :]).mean(axis=axis + 1))


def _blur(array: Float32, axis: int, sigma: float) -> Float32:
    """A sampled Gaussian of `sigma` voxels; beyond the ends nothing is known and nothing counted."""
    size = array.shape[axis]
    radius = min(int(np.ceil(_REACH * sigma)), size - 1)
    kernel = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    out = array * np.float32(kernel[0])
    product = np.empty_like(array)
    for distance in range(1, radius + 1):
        weight = np.float32(kernel[distance])
        before, after = _along(axis, slice(size - distance)), _along(axis, slice(distance, size))
        part = product[before]
        out[before] += np.multiply(array[after], weight, out=part)
        out[after] += np.multiply(array[before], weight, out=part)
    counted = np.convolve(np.ones(size), np.concatenate([kernel[:0:-1], kernel]), mode="full")[radius : radius + size]
    out /= np.expand_dims(counted, [a for a in range(3) if a != axis]).astype(np.float32)
    return np.asarray(out)


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if a == axis else slice(None) for a in range(3))
