"""Checks of one series: a whole head in three dimensions, soundly scanned, and T1-weighted if it is the baseline."""

from __future__ import annotations

import numpy as np

from service.imaging.head_mask import dilate, distance_inside
from service.imaging.quality import SMALLEST_REGION, QualityReport, around_brain, judge, report
from service.imaging.recipe_types import Anatomy
from service.imaging.rigid import RigidTransform
from service.imaging.smoothed_copy import shrink
from service.imaging.volume import Float32, Float64, Grid, Volume

_CORTEX_MM, _DEEP_MM = (1.0, 7.0), (12.0, 30.0)  # under the brain's hull
_NOISE_SPACING_MM, _NOISE_CUBE_MM, _MAD_OF_NORMAL = 1.0, 70.0, 0.6745
_HIGHEST_SNR = 1000.0  # denoised images come without any
_SPECTRA = 6  # slices
_FILLED_PERCENTILE = 90.0  # zero-filling to twice the matrix leaves a quarter of the spectrum filled
_MIDDLE_OF_SPECTRUM = 0.06  # cycles per voxel; anatomy lies within
_EDGE_MM, _TISSUE = 2.0, 0.3  # of the brain's signal
_FROM_THE_HEAD_MM, _AIR_EVERY = 12.0, 2  # every second voxel along each axis is enough


def check_volume(volume: Volume, series: str = "") -> QualityReport:
    """Is this a whole-head 3D volume with an image in it? Before anything else is computed."""
    spacing = np.array(volume.grid.spacing)
    extent = spacing * np.array(volume.grid.shape[::-1])
    finite = float(np.isfinite(volume.array).mean())
    checks = [
        judge("NOT_FINITE", finite, series),
        judge("MATRIX_TOO_LARGE", float(volume.array.size), series),
        judge("VOXELS_TOO_THICK", float(spacing.max()), series),
        judge("FIELD_OF_VIEW_SHORT", float(extent.min()), series),
    ]
    if finite == 1.0:
        low, middle, high = np.percentile(volume.array[::2, ::2, ::2], [1, 50, 99])
        levels = np.unique(volume.array[::3, ::3, ::3]).size
        checks += [
            judge("LOW_DYNAMIC_RANGE", float(levels), series),
            judge("CONSTANT_IMAGE", float((high - low) / max(abs(high), abs(middle), 1e-12)), series),
            judge("SIGNAL_CLIPPED", _at_the_top(volume.array), series),
            judge("SLICES_BLANK", float(_blank_slices(volume.array)), series),
        ]
    return report(checks)


def _at_the_top(array: Float32) -> float:
    """Share of the brighter half's voxels that hold the very highest value."""
    top = float(array.max())
    bright = np.count_nonzero(array > 0.5 * top)
    return float(np.count_nonzero(array == top)) / bright if top > 0 and bright else float("nan")


def _blank_slices(array: Float32) -> int:
    """Slices of one value throughout, along any axis, between slices with an image in them."""
    blank = 0
    for axis in range(3):
        across = tuple(n for n in range(3) if n != axis)
        shown = np.flatnonzero(array.max(axis=across) > array.min(axis=across))
        blank += int(shown[-1] - shown[0] + 1 - len(shown)) if len(shown) else 0
    return blank


def check_anatomy(baseline: Volume, anatomy: Anatomy) -> QualityReport:
    """Does the baseline hold a whole brain with dark fluid, and both orbits?"""
    voxel_litres = float(np.prod(anatomy.grid.spacing)) / 1e6
    points = anatomy.grid.to_world(np.argwhere(anatomy.brain)[:, ::-1])
    ijk = baseline.grid.to_index(points)
    size = np.array(baseline.grid.shape[::-1])
    margin_mm = np.minimum(ijk + 0.5, size - 0.5 - ijk) * np.array(baseline.grid.spacing)
    at_edge = float((margin_mm.min(axis=1) < 2.0).mean()) if len(points) else float("nan")
    brain = float(anatomy.brain.sum())
    return report(
        [
            judge("BRAIN_VOLUME", brain * voxel_litres),
            judge("BRAIN_CUT", at_edge),
            judge("FLUID_NOT_DARK", float(anatomy.csf.sum()) / brain if brain else float("nan")),
            judge("VENTRICLES_NOT_FOUND", float(anatomy.lateral_ventricles.sum()) * voxel_litres * 1000),
            judge("ORBITS_NOT_FOUND", float((anatomy.left_orbit is not None) + (anatomy.right_orbit is not None))),
        ]
    )


def check_contrast(seen: Float32, anatomy: Anatomy) -> QualityReport:
    """Is the baseline weighted as an unenhanced T1 is: fluid dark, cortex darker than what lies under it?

    `seen` is the baseline on `Anatomy.grid`. Fat against brain is for `quality_pair.check_normalisation`.
    """
    box = around_brain(anatomy)
    brain, fluid, values = anatomy.brain[box], anatomy.csf[box], seen[box]
    if not brain.any():
        return report([judge("WHITE_NOT_BRIGHT", float("nan")), judge("FLUID_BRIGHT", float("nan"))])
    depth = distance_inside(brain, anatomy.grid)
    deep = (depth > _DEEP_MM[0]) & (depth < _DEEP_MM[1]) & ~fluid
    cortex = (depth > _CORTEX_MM[0]) & (depth < _CORTEX_MM[1]) & ~fluid
    inner = values[depth > _CORTEX_MM[1]]
    if min(deep.sum(), cortex.sum(), inner.size) < SMALLEST_REGION:
        return report([judge("WHITE_NOT_BRIGHT", float("nan")), judge("FLUID_BRIGHT", float("nan"))])
    return report(
        [
            judge("WHITE_NOT_BRIGHT", float(np.median(values[deep]) / np.median(values[cortex]))),
            judge("FLUID_BRIGHT", float(np.percentile(inner, 1) / np.median(values[brain & ~fluid]))),
        ]
    )


def check_scan(
    volume: Volume, seen: Float32, anatomy: Anatomy, *, transform: RigidTransform | None = None, series: str
) -> QualityReport:
    """Was the series scanned soundly? Figures are ratios to the brain's own signal: a gain changes none.

    Parameters
    ----------
    seen
        The series on `Anatomy.grid`, smoothed to it; 0 where not covered.
    transform
        Baseline (where `anatomy` lies) -> `volume`; None for the baseline itself.
    """
    brain = seen[anatomy.brain & ~anatomy.csf & (seen > 0)]
    signal = float(np.median(brain)) if brain.size >= SMALLEST_REGION else float("nan")
    up, left = anatomy.axial.normal, anatomy.midsagittal.normal
    up_and_back = np.array([up, np.cross(up, left)])
    if transform is not None:
        up_and_back = up_and_back @ transform.matrix[:3, :3].T
    below = anatomy.brain_centre - np.outer(np.arange(120.0), anatomy.axial.normal)
    centre_down = below if transform is None else transform.map(below)
    near = shrink(volume, _NOISE_SPACING_MM)
    noise = noise_level(near, centre_down[0])
    return report(
        [
            judge("LOW_SNR", signal / max(noise, signal / _HIGHEST_SNR), series),
            judge("SPIKE_NOISE", strongest_line(near), series),
            judge("AIR_NOT_DARK", _uneven_air(seen, anatomy) / signal, series),
            judge("BASE_CUT", _run_inside(volume.grid, centre_down), series),
            judge("HEAD_AT_EDGE", _tissue_at_edge(near, signal, up_and_back), series),
        ]
    )


def noise_level(near: Volume, centre: Float64) -> float:
    """Standard deviation of the noise in the middle of the brain, 70 mm cubed, in the volume's units.

    Donoho's estimator on the finest diagonal band of a Haar transform, in which anatomy has no part to speak of. `near`
    is at about 1 mm: an interpolated matrix hides its noise from differences between neighbours.
    """
    spacing, size = np.array(near.grid.spacing), np.array(near.grid.shape[::-1])
    middle = near.grid.to_index(centre[None])[0]
    low = np.clip(np.round(middle - _NOISE_CUBE_MM / 2 / spacing).astype(int), 0, size - 2)
    steps = np.minimum(np.round(_NOISE_CUBE_MM / spacing).astype(int), size - low) // 2 * 2
    band = near.part(low, low + np.maximum(steps, 2)).array.astype(np.float64)
    for axis in range(3):
        even, odd = (np.take(band, np.arange(first, band.shape[axis], 2), axis) for first in (0, 1))
        band = even - odd
    return float(np.median(np.abs(band)) / _MAD_OF_NORMAL / np.sqrt(8))


def strongest_line(near: Volume) -> float:
    """The spectrum's strongest isolated point outside its middle, over the level around it; 1-3 without spikes.

    Mean spectrum of slices through the middle third. Where the spectrum is empty (zero-filled, low-pass filtered) a
    level of the filled part stands in for that around a point.
    """
    array = near.array
    window = np.outer(np.hanning(array.shape[1]), np.hanning(array.shape[2])).astype(np.float32)
    slices = np.linspace(array.shape[0] / 3, 2 * array.shape[0] / 3, _SPECTRA).astype(int)
    spectrum = np.mean([np.abs(np.fft.rfft2(array[k] * window)) for k in slices], axis=0)
    v, u = np.fft.fftfreq(array.shape[1]), np.fft.rfftfreq(array.shape[2])
    outer = np.hypot(v[:, None], u[None]) > _MIDDLE_OF_SPECTRUM
    around = np.median(
        [np.roll(spectrum, (y, x), (0, 1)) for y in (-3, 0, 3) for x in (-3, 0, 3) if (y, x) != (0, 0)], axis=0
    )
    level = np.maximum(around, np.percentile(spectrum[outer], _FILLED_PERCENTILE))[outer]
    return float((spectrum[outer] / level).max()) if level.min() > 0 else float("nan")


def _uneven_air(seen: Float32, anatomy: Anatomy) -> float:
    """How much brighter the brightest 1 % of the air is than its darkest 5 %: ghosts, not noise, at 2 mm."""
    thin = (slice(None, None, _AIR_EVERY),) * 3
    spacing = anatomy.grid.spacing[0] * _AIR_EVERY
    head, values = anatomy.head[thin], seen[thin]
    coarse = Grid.axis_aligned((head.shape[0], head.shape[1], head.shape[2]), spacing, (0.0, 0.0, 0.0))
    air = values[~dilate(head, _FROM_THE_HEAD_MM, coarse) & (values != 0)]
    if air.size < SMALLEST_REGION:  # cropped to the head, or zeroed by the scanner
        return 0.0
    low, high = np.percentile(air, [5, 99])
    return float(high - low)


def _tissue_at_edge(near: Volume, signal: float, directions: Float64) -> float:
    """The largest area of tissue, cm2, on the faces of the field of view that look in these directions (N, 3).

    A head that is folded over reaches the face that it comes in at; one that is whole reaches neither upper nor rear.
    """
    areas = []
    for direction in directions:
        along = near.grid.directions.T @ direction
        axis = int(np.argmax(np.abs(along)))
        spacing = near.grid.spacing
        lines = np.moveaxis(near.array, 2 - axis, 0)
        layers = max(1, round(_EDGE_MM / spacing[axis]))
        face = (lines[-layers:] if along[axis] > 0 else lines[:layers]).mean(axis=0)
        tissue = float(np.count_nonzero(face > _TISSUE * signal))
        areas.append(tissue * float(np.prod(spacing)) / spacing[axis] / 100 if signal > 0 else float("nan"))
    return max(areas)


def _run_inside(grid: Grid, points: Float64) -> float:
    """How many of the points, 1 mm apart, lie inside before the first one that does not."""
    inside = grid.holds(points)
    return float(len(points) if inside.all() else np.argmin(inside))
