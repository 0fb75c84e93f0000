"""How alike the structure of two aligned series is: over the brain, in its weakest part, from slice to slice."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from service.imaging.head_mask import dilate
from service.imaging.quality import SMALLEST_REGION, AlignedPair, Box, around_brain
from service.imaging.recipe_types import Anatomy
from service.imaging.resampling import sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Mask, Volume

_GRAIN, _GYRUS, _WIDER = 1, 2, 3  # voxels to each side of the middle one: means over 6, 10 and 14 mm at 2 mm
_FROM_FLUID_MM = 2.0
_TELLING = 0.5  # correlation of what holds structure enough to be placed
_LEAST_DIFFERENCE = 0.01  # of the signal: noise-free copies differ by less
_SLAB = 6  # voxels thick: 12 mm at 2 mm
_FARTHEST = 4  # voxels that a slab is moved
_LEAST_OF_A_SLAB = 1500  # voxels of tissue: 12 mL
_EVERY_MM = 3.0  # along rows and columns of a slice
_LEAST_OF_A_SLICE = 300  # of those points in tissue
_NEIGHBOURS = 4  # slices to each side
_FEWEST_NEIGHBOURS = 4
_IN = 0.9


def local_agreement(pair: AlignedPair, anatomy: Anatomy) -> float:
    """Correlation over brain tissue of structure between 6 and 10 mm wide; 1 = the same structure.

    Noise is averaged away, gain and shading cancel, and fluid, which tracer changes, is left out. The outline of the
    head counts for nothing: two heads, or one and its mirror image, are outlined much alike.
    """
    box, tissue = _tissue(pair, anatomy)
    if tissue.sum() < SMALLEST_REGION:
        return float("nan")
    a, b = (_structure(_alone(array[box], tissue), _GRAIN, _GYRUS)[tissue] for array in (pair.before, pair.after))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def relative_sharpness(pair: AlignedPair, anatomy: Anatomy) -> float:
    """Fine over coarse structure of the delayed series, against that of the baseline; 1 = equally sharp."""
    box, tissue = _tissue(pair, anatomy)
    if tissue.sum() < SMALLEST_REGION:
        return float("nan")
    before, after = (
        float(_structure(array[box], 0, _GRAIN)[tissue].std() / _structure(array[box], 0, _WIDER)[tissue].std())
        for array in (pair.before, pair.after)
    )
    return after / before if before > 0 else float("nan")


def displaced_part(pair: AlignedPair, anatomy: Anatomy) -> float:
    """By how much `local_agreement` of a slab 12 mm thick rises if it is moved by up to 8 mm; 0 = all lies right.

    Where part of the head moved during a scan, all of it cannot be aligned at once. Slabs that agree with nothing
    wherever they are put, since they hold little structure, say nothing. Tissue beside fluid is left out.
    """
    box = around_brain(anatomy, 0.0)
    core = _core(anatomy)[box] & (pair.after > 0)[box]
    if core.sum() < SMALLEST_REGION:
        return float("nan")
    a, b = (_structure(_alone(array[box], core), _GRAIN, _GYRUS) for array in (pair.before, pair.after))
    slabs = [(slab, core[slab], a[slab][core[slab]]) for slab in _slabs(core)]

    def agreement(other: Float32) -> Float64:
        return np.array([_correlation(structure, other[slab][inside]) for slab, inside, structure in slabs])

    here = best = agreement(b)
    for axis in range(3):
        for step in (*range(-_FARTHEST, 0), *range(1, _FARTHEST + 1)):
            best = np.maximum(best, agreement(np.roll(b, step, axis=axis)))
    telling = best >= _TELLING
    return float((best - here)[telling].max()) if telling.any() else float("nan")


def _slabs(core: Mask) -> list[Box]:
    """Of all axes, those that hold enough of `core`."""
    found = []
    for axis in range(3):
        for start in range(0, core.shape[axis] - _SLAB + 1, _SLAB):
            k, j, i = (slice(start, start + _SLAB) if n == axis else slice(None) for n in range(3))
            if np.count_nonzero(core[k, j, i]) >= _LEAST_OF_A_SLAB:
                found.append((k, j, i))
    return found


def worst_slice(baseline: Volume, delayed: Volume, transform: RigidTransform, anatomy: Anatomy) -> float:
    """How many times farther from the other series one slice of a series is than those beside it; along any axis.

    Slices that were exchanged or belong elsewhere differ by their structure, their neighbours by noise. A correlation
    would fall as much in a slice that merely holds little structure.
    """
    core = Volume(_core(anatomy).astype(np.float32), anatomy.grid)
    still = RigidTransform.identity()
    rises = [
        _largest_rise(_by_slice(axis, *views, core))
        for axis in range(3)
        for views in (((baseline, still), (delayed, transform)), ((delayed, transform), (baseline, still)))
    ]
    return max((rise for rise in rises if np.isfinite(rise)), default=float("nan"))


def _by_slice(
    axis: int, sliced: tuple[Volume, RigidTransform], other: tuple[Volume, RigidTransform], core: Volume
) -> Float64:
    """Median difference from the other series in tissue, over its signal, of each slice across an array axis.

    Each slice has a gain of its own, so that shading counts for nothing. NaN where there is too little tissue.

    The transforms map the baseline's points to each series.
    """
    volume, to_volume = sliced
    shape, back = volume.grid.shape, to_volume.inverse()
    low, high = _reach(volume, to_volume, core)
    spacing = volume.grid.spacing[::-1]
    across = [n for n in range(3) if n != axis]
    steps = np.meshgrid(
        *(_strided(low[n], high[n], max(1, round(_EVERY_MM / spacing[n]))) for n in across), indexing="ij"
    )
    kji = np.empty((steps[0].size, 3))
    for n, step in zip(across, steps, strict=True):
        kji[:, n] = step.ravel()
    found = np.full(shape[axis], np.nan)
    for number in range(low[axis], high[axis]):
        kji[:, axis] = number
        points = back.map(volume.grid.to_world(kji[:, ::-1]))
        inside = sample(core, points, outside=0.0) > _IN
        if np.count_nonzero(inside) >= _LEAST_OF_A_SLICE:
            k, j, i = kji[inside].astype(int).T
            seen = sample(other[0], other[1].map(points[inside]), outside=0.0)
            found[number] = _difference(volume.array[k, j, i], seen)
    return found


def _reach(volume: Volume, to_volume: RigidTransform, core: Volume) -> tuple[list[int], list[int]]:
    """The part of the lattice, from and up to ``(k, j, i)``, outside which there is nothing of `core`."""
    points = core.grid.to_world(np.argwhere(core.array > 0)[:, ::-1])
    kji = volume.grid.to_index(to_volume.map(points))[:, ::-1]
    margin = np.ceil(2 * max(core.grid.spacing) / np.array(volume.grid.spacing[::-1]))
    shape = np.array(volume.grid.shape)
    if not len(kji):
        return [0, 0, 0], [0, 0, 0]
    low = np.clip(np.floor(kji.min(axis=0)) - margin, 0, shape)
    high = np.clip(np.ceil(kji.max(axis=0)) + margin + 1, 0, shape)
    return [int(n) for n in low], [int(n) for n in high]


def _strided(low: int, high: int, step: int) -> NDArray[np.int64]:
    """Every `step`-th index from `low` to below `high`, counted from 0."""
    return np.arange(-(-low // step) * step, high, step)


def _difference(values: Float32, seen: Float32) -> float:
    level = float(np.median(values))
    gain = float(np.median(seen)) / level if level > 0 else 0.0
    return float(np.median(np.abs(values * gain - seen)) / np.median(seen)) if gain > 0 else 1.0


def _largest_rise(difference: Float64) -> float:
    """Of a slice over the median of its neighbours; NaN where none has enough of them."""
    rises = []
    for number, value in enumerate(difference):
        beside = np.r_[difference[max(0, number - _NEIGHBOURS) : number], difference[number + 1 :][:_NEIGHBOURS]]
        beside = beside[np.isfinite(beside)]
        if np.isfinite(value) and len(beside) >= _FEWEST_NEIGHBOURS:
            rises.append(float(value / max(float(np.median(beside)), _LEAST_DIFFERENCE)))
    return max(rises, default=float("nan"))


def _core(anatomy: Anatomy) -> Mask:
    """Brain tissue with no fluid beside it, which tracer would brighten."""
    return anatomy.brain & ~dilate(anatomy.csf | anatomy.lateral_ventricles, _FROM_FLUID_MM, anatomy.grid)


def _correlation(one: Float32, other: Float32) -> float:
    """0 where one of the two is flat: then they share nothing."""
    return float(np.corrcoef(one, other)[0, 1]) if one.std() > 0 and other.std() > 0 else 0.0


def _tissue(pair: AlignedPair, anatomy: Anatomy) -> tuple[Box, Mask]:
    """The box around the brain, and in it the tissue that both series cover."""
    box = around_brain(anatomy, 0.0)
    return box, (anatomy.brain & ~anatomy.csf & (pair.after > 0))[box]


def _alone(array: Float32, tissue: Mask) -> Float32:
    """What is no tissue evened out, so that neither tracer nor skull reaches into the means."""
    return np.where(tissue, array, np.median(array[tissue]))


def _structure(array: Float32, inner: int, outer: int) -> Float32:
    """Means over so many voxels to each side, less the means over a wider surrounding."""
    image = sitk.GetImageFromArray(array)
    narrow, wide = (
        sitk.GetArrayFromImage(sitk.BoxMean(image, [radius] * 3)) if radius else array for radius in (inner, outer)
    )
    return np.asarray(narrow - wide, dtype=np.float32)
