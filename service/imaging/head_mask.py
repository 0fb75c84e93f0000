"""Head, brain and fluid masks of an upright T1 head, by classical image analysis around the atlas's brain.

All thresholds are fractions of the image's own median brain signal, so that a gain changes
nothing. Lengths are millimetres, masks are ``[k, j, i]`` on the working grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from service.imaging.volume import Float32, Float64, Grid, Mask, Volume

WORKING_SPACING_MM = 2.0

_SURELY_BRAIN_MM = 8.0  # inside the atlas's brain, which may lie this far off
_SURELY_NOT_BRAIN_MM = 16.0  # outside it
_BRAIN_LITRES = (0.7, 2.15)  # with ventricles and inner fluid; outside it the mask leaked or broke
_GYRUS_STEPS = 4  # times 2 mm of growth inside tissue after the erosion
_FLUID_FRACTION = 0.55  # of the brain signal: between fluid (0.15-0.5) and cortex (0.8)


class NotAHeadError(ValueError):
    """No head and brain of plausible size can be outlined; the message says what was missing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadMasks:
    """Outlines of one head on its working grid.

    Attributes
    ----------
    image
        The volume at 2 mm, LPS-aligned, in units of the median brain signal.
    brain_signal
        That median in source units.
    brain
        Brain with ventricles and the fluid enclosed by its hull.
    depth_mm
        Distance below the surface of `brain`; negative outside.
    """

    image: Volume
    brain_signal: float
    head: Mask
    brain: Mask
    csf: Mask
    depth_mm: Float32


def outline(image: Volume, expected_brain: Mask) -> HeadMasks:
    """Head, brain and inner fluid of `image`, an upright head on an LPS-aligned grid with 2 mm voxels.

    Parameters
    ----------
    expected_brain
        ``[k, j, i]``: where the atlas has the brain, to about 10 mm.

    Raises
    ------
    NotAHeadError
        There is no foreground, or nothing of a brain's size and place in it.
    """
    grid = image.grid
    head = _head(image)
    off_expected = distance_inside(expected_brain, grid)
    core = (off_expected > _SURELY_BRAIN_MM) & head
    if core.sum() * WORKING_SPACING_MM**3 < 2e5:
        raise NotAHeadError("less than 200 mL of signal lie where an average head has its brain")
    brain_signal = float(np.median(image.array[core]))
    if not brain_signal > 0:
        raise NotAHeadError("the inside of the head has no signal")
    relative = image.with_array(image.array / np.float32(brain_signal))
    inner = (off_expected > -_SURELY_NOT_BRAIN_MM) & (distance_inside(head, grid) > 4)
    brain = _brain(relative, inner, core)
    brain_depth = distance_inside(brain, grid)
    csf = brain & (relative.array < _FLUID_FRACTION)
    return HeadMasks(image=relative, brain_signal=brain_signal, head=head, brain=brain, csf=csf, depth_mm=brain_depth)


def distance_inside(mask: Mask, grid: Grid) -> Float32:
    """Signed distance to the mask's surface in mm, positive inside; the lattice's edge is no surface."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(grid.spacing)
    signed = sitk.SignedMaurerDistanceMap(image, True, False, True)
    # ITK measures to the centres of the outermost mask voxels; the surface lies half a voxel further out
    return np.asarray(sitk.GetArrayFromImage(signed) + 0.5 * min(grid.spacing), dtype=np.float32)


def dilate(mask: Mask, radius_mm: float, grid: Grid) -> Mask:
    """`mask` grown by a ball."""
    if not mask.any():
        return mask
    return np.asarray(distance_inside(mask, grid) >= -radius_mm)


def offsets_from(point: Float64, grid: Grid) -> tuple[Float64, Float64, Float64]:
    """x, y and z of every voxel of an LPS-aligned lattice seen from `point`, mm; they broadcast to ``[k, j, i]``."""
    nk, nj, ni = grid.shape
    x, y, z = (grid.origin[a] + grid.spacing[a] * np.arange(n) - point[a] for a, n in enumerate((ni, nj, nk)))
    return x[None, None], y[None, :, None], z[:, None, None]


def widen(mask: Mask) -> Mask:
    """`mask` and its neighbours across faces and edges; one voxel of `dilate`, many times faster."""
    wide = np.pad(mask, 1)
    out = mask.copy()
    nk, nj, ni = mask.shape
    for k, j, i in np.ndindex(3, 3, 3):
        if (k != 1) + (j != 1) + (i != 1) in {1, 2}:
            out |= wide[k : k + nk, j : j + nj, i : i + ni]
    return out


def erode(mask: Mask, radius_mm: float, grid: Grid) -> Mask:
    """`mask` shrunk by a ball."""
    if mask.all() or not mask.any():
        return mask
    return np.asarray(distance_inside(mask, grid) > radius_mm)


def components(mask: Mask) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int32]], int]:
    """Face-connected components, largest first: labels (0 outside) and their number."""
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    ordered = sitk.RelabelComponent(image, 0, True)
    labels = sitk.GetArrayFromImage(ordered).astype(np.int32)
    return labels, int(labels.max())


def fill_holes(mask: Mask) -> Mask:
    """Enclosed cavities filled, in 3D."""
    filled = sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)))
    return np.asarray(sitk.GetArrayFromImage(filled) > 0)


def largest_foreground(array: Float32) -> Mask:
    """The largest connected part that is brighter than a quarter of the tissue's signal."""
    clipped = np.minimum(array, np.percentile(array[array > 0], 98))
    tissue = float(np.median(clipped[clipped > between_two_kinds(clipped)]))
    labels, _ = components(clipped > 0.25 * tissue)
    return np.asarray(labels == 1)


def between_two_kinds(values: Float32) -> float:
    """Otsu's threshold of an array of two axes or three."""
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(values))
    return float(otsu.GetThreshold())


def covering_grid(source: Grid, spacing_mm: float) -> Grid:
    """An LPS-aligned lattice around all voxels of `source`."""
    nk, nj, ni = source.shape
    corners = np.array([[i, j, k] for i in (-0.5, ni - 0.5) for j in (-0.5, nj - 0.5) for k in (-0.5, nk - 0.5)])
    world = source.to_world(corners)
    low, high = world.min(axis=0), world.max(axis=0)
    ni, nj, nk = (max(1, int(n)) for n in np.ceil((high - low) / spacing_mm))
    return Grid.axis_aligned((nk, nj, ni), spacing_mm, (low + high) / 2)


def _head(image: Volume) -> Mask:
    values = image.array[image.array > 0]
    if values.size < 1000:
        raise NotAHeadError("the image is empty")
    seen = largest_foreground(image.array)
    if not seen.any():
        raise NotAHeadError("no foreground")
    head = erode(dilate(seen, 10.0, image.grid), 10.0, image.grid)
    # sinuses and mouth open to the air in single slices only: fill per slice, then in 3D
    for k in range(head.shape[0]):
        if head[k].any():
            head[k] = fill_holes(head[k][None])[0]
    head = fill_holes(head)
    head = dilate(erode(head, 4.0, image.grid), 4.0, image.grid)  # ghosts, hair, ear folds
    return np.asarray(components(head)[0] == 1)


def _brain(relative: Volume, inner: Mask, core: Mask) -> Mask:
    """Grey and white matter freed from its surroundings by erosion, regrown, closed over sulci and ventricles."""
    grid = relative.grid
    tissue = inner & (relative.array > _FLUID_FRACTION) & (relative.array < 1.6)
    inside = distance_inside(tissue, grid)
    litres = 0.0
    for radius in (2.5, 3.5, 4.5, 6.0, 7.5):
        labels, n = components(inside > radius)
        if n == 0:
            break
        seeds = np.bincount(labels[core & (labels > 0)], minlength=n + 1)
        if seeds.max() == 0:
            break
        kernel = labels == int(seeds.argmax())
        brain = tissue & dilate(kernel, radius + 2.0, grid)
        for _ in range(_GYRUS_STEPS):  # gyri hang on thin stalks; dura and marrow do not hang on brain
            brain = tissue & widen(brain)
        brain = erode(fill_holes(dilate(brain, 8.0, grid)), 7.0, grid)
        brain = dilate(erode(brain, 6.0, grid), 6.0, grid)
        labels, _ = components(brain)
        brain = np.asarray(labels == 1)
        litres = float(brain.sum()) * WORKING_SPACING_MM**3 / 1e6
        if _BRAIN_LITRES[0] <= litres <= _BRAIN_LITRES[1]:
            return brain
    raise NotAHeadError(f"no brain-sized structure: the best candidate has {litres:.2f} L")
