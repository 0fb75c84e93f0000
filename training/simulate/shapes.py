"""Shapes that heads are made of: random fields, ellipsoids and capsules on coordinate arrays."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from service.imaging.volume import Float32, Mask


def smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Float32:
    """A random field of zero mean and unit spread; `sigma` in voxels. Drawn coarse, then interpolated."""
    step = max(1.0, sigma / 2.0)
    coarse = tuple(int(np.ceil(n / step)) + 4 for n in shape)
    field = ndimage.gaussian_filter(rng.standard_normal(coarse).astype(np.float32), sigma / step)
    field = field / field.std()
    if step == 1.0:
        return np.asarray(field[tuple(slice(2, 2 + n) for n in shape)], dtype=np.float32)
    zoomed = ndimage.zoom(field, step, order=1)
    return np.asarray(zoomed[tuple(slice(0, n) for n in shape)], dtype=np.float32)


def ellipsoid(x: Float32, y: Float32, z: Float32, centre: tuple[float, ...], radii: tuple[float, ...]) -> Mask:
    """Inside of an axis-aligned ellipsoid."""
    return np.asarray(
        ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2 < 1
    )


def capsule(
    x: Float32, y: Float32, z: Float32, points: tuple[tuple[float, ...], ...], radii: tuple[float, ...]
) -> Mask:
    """Inside of a chain of cones with round ends through `points` (LPS mm)."""
    inside = np.zeros(x.shape, dtype=bool)
    reach = max(radii) + 1
    low = np.min(points, axis=0) - reach
    high = np.max(points, axis=0) + reach
    near = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1]) & (z > low[2]) & (z < high[2])
    p = np.stack([x[near], y[near], z[near]], axis=1)
    hit = np.zeros(len(p), dtype=bool)
    for (a, ra), (b, rb) in zip(
        zip(points[:-1], radii[:-1], strict=True), zip(points[1:], radii[1:], strict=True), strict=True
    ):
        start, along = np.asarray(a), np.asarray(b, dtype=float) - np.asarray(a)
        t = np.clip((p - start) @ along / max(float(along @ along), 1e-9), 0, 1)
        hit |= np.linalg.norm(p - start - t[:, None] * along, axis=1) < ra + t * (rb - ra)
    inside[near] = hit
    return inside
