"""Heads from a real T1 image in MNI space: true cortex and texture, bent at random, tracer added.

The image is the user's own to obtain and is never part of csf24; Debian's ``mricron-data`` has one
(Colin27: ``ch2.nii.gz`` with its brain-extracted twin ``ch2bet.nii.gz``, 1 mm). One anatomy, however
bent, is one anatomy: such patients are for training, not for testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.volume import Float32, Grid, Mask, Volume
from training.simulate.heads import HEAD_SPACING_MM
from training.simulate.shapes import capsule, ellipsoid, smooth_noise
from training.simulate.tissues import FLUID, Head, Labels, Tissue

_SIZE_MM = (198.0, 234.0, 198.0)  # k, j, i
_CENTRE_LPS = (0.0, 17.0, 10.0)
_MARGIN_MM = 3.5  # of the subarachnoid space outside the brain-extracted image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """A whole head and its brain, same grid, LPS; the image in units of its white matter."""

    image: Volume
    brain: Volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TexturedHead:
    """A head with the unenhanced signal it was made from, in units of white matter."""

    head: Head
    unenhanced: Float32


def load_template(path: Path) -> Template:
    """``<name>.nii.gz`` with ``<name>bet.nii.gz`` beside it, both whole-head in MNI space."""
    image, brain = (read_nifti(p) for p in (path, path.with_name(path.name.replace(".nii", "bet.nii"))))
    white = np.percentile(brain.array[brain.array > 0], 75)
    return Template(image=image.with_array(image.array / np.float32(white)), brain=brain)


def bend(template: Template, rng: np.random.Generator) -> TexturedHead:
    """A new head: other proportions, a smooth random warp, other ventricles, another contrast, maybe mirrored.

    Raises
    ------
    InputRefused
        The bent image no longer looks like a head with orbits to the anatomy finder.
    """
    nk, nj, ni = (2 * round(s / HEAD_SPACING_MM / 2) for s in _SIZE_MM)
    grid = Grid.axis_aligned((nk, nj, ni), HEAD_SPACING_MM, _CENTRE_LPS)
    x, y, z = _bent_coordinates(grid, rng)
    image = _look_up(template.image, x, y, z)
    inside = _look_up(template.brain, x, y, z) > 0
    labels = _segment(image, inside, x, y, z)
    signal = _other_contrast(image, rng)
    volume = Volume(signal, grid)
    anatomy = find_anatomy(volume)
    measure_orbital_fat(volume, anatomy)
    head = Head(labels=labels, grid=grid, anatomy=anatomy)
    return TexturedHead(head=head, unenhanced=signal)


def read_nifti(path: Path) -> Volume:
    """A 3D NIfTI image in LPS mm."""
    stored = nibabel.load(path)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ stored.affine
    array = np.asarray(stored.dataobj, dtype=np.float32).transpose(2, 1, 0)
    return Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine))


def _bent_coordinates(grid: Grid, rng: np.random.Generator) -> tuple[Float32, Float32, Float32]:
    """Template coordinates (LPS mm) for each voxel of `grid`."""
    nk, nj, ni = grid.shape
    h = grid.spacing[0]
    axes = [grid.origin[a] + h * np.arange(n) for a, n in enumerate((ni, nj, nk))]
    x, y, z = (
        np.broadcast_to(v, grid.shape).astype(np.float32)
        for v in (axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None])
    )
    amplitude = rng.uniform(1.5, 4.5)
    warp = [smooth_noise(grid.shape, 24.0 / h, rng) * np.float32(amplitude) for _ in range(3)]
    scale = rng.normal(1, 0.045, 3).clip(0.9, 1.1)
    mirrored = np.float32(rng.choice([-1.0, 1.0]))
    # ventricles grow or shrink about the two bodies' axes
    swell = rng.uniform(-0.6, 6.0) if rng.random() < 0.6 else 0.0
    for side in (1.0, -1.0):
        dx, dy, dz = x - side * 11, (y - 12) * 0.45, z - 16
        r = np.sqrt(dx**2 + dy**2 + dz**2) + 1.0
        push = (swell * np.exp(-((r / 20) ** 2)) * np.minimum(r / 6, 1) / r).astype(np.float32)
        warp[0] -= push * dx
        warp[1] -= push * dy
        warp[2] -= push * dz
    return (
        np.asarray((x + warp[0]) / scale[0] * mirrored, dtype=np.float32),
        np.asarray((y + warp[1]) / scale[1], dtype=np.float32),
        np.asarray((z + warp[2]) / scale[2], dtype=np.float32),
    )


def _look_up(volume: Volume, x: Float32, y: Float32, z: Float32) -> Float32:
    affine = np.linalg.inv(volume.grid.affine)
    i, j, k = (affine[r, 0] * x + affine[r, 1] * y + affine[r, 2] * z + affine[r, 3] for r in range(3))
    return np.asarray(ndimage.map_coordinates(volume.array, [k, j, i], order=1), dtype=np.float32)


def _segment(image: Float32, brain: Mask, x: Float32, y: Float32, z: Float32) -> Labels:
    """Labels from signal (units of white matter) and place (MNI space, LPS mm), 1.5 mm voxels.

    What lies outside the brain only has to keep its own signal.
    """
    h = HEAD_SPACING_MM
    hull = ndimage.binary_closing(np.pad(brain, 6), iterations=5)[6:-6, 6:-6, 6:-6]
    hull = np.asarray([ndimage.binary_fill_holes(s) for s in hull])
    around = ndimage.distance_transform_edt(~hull) * h
    canal = capsule(x, y, z, ((0, 34, -50), (0, 40, -75)), (15.0, 13.0))
    within = (around < _MARGIN_MM) | canal
    labels = np.where(image > 0.15, Tissue.MUSCLE, Tissue.AIR).astype(np.uint8)
    labels[within & (image >= 0.53)] = Tissue.GREY
    labels[hull & (image >= 0.86)] = Tissue.WHITE
    labels[(around >= 0.7) & (labels == Tissue.GREY)] = Tissue.MUSCLE  # dura and marrow are no brain
    labels[within & (image < 0.53)] = Tissue.CSF
    labels[within & (image < 0.12) & (around > 1.5)] = Tissue.BONE
    deep = ndimage.distance_transform_edt(hull) * h
    bodies = ellipsoid(x, y, z, (0, 20, 10), (42, 62, 30)) & (deep > 18)
    # velum and quadrigeminal cistern lie behind and below the third ventricle, suprasellar fluid below it
    bodies &= ~((np.abs(x) < 13) & (((y > 22) & (z < 18)) | (z < -3)))
    parts, _ = ndimage.label((labels == Tissue.CSF) & bodies)
    seeds = np.unique(parts[ellipsoid(x, y, z, (9, 5, 16), (6, 16, 8)) | ellipsoid(x, y, z, (-9, 5, 16), (6, 16, 8))])
    tubes = [((s * 8, 2, 12), (0, 3, 4)) for s in (1.0, -1.0)]
    lateral = np.isin(parts, seeds[seeds > 0]) & ~ellipsoid(x, y, z, (0, 14, -3), (6, 24, 9))
    for tube in tubes:
        lateral |= capsule(x, y, z, tube, (2.4, 2.4)) & hull
    low = ellipsoid(x, y, z, (0, 12, -1), (2.4, 12, 8))
    low |= capsule(x, y, z, ((0, 22, -2), (0, 31, -8), (0, 37, -20), (0, 44, -30)), (2.2, 2.1, 2.1, 3.0))
    low |= ellipsoid(x, y, z, (0, 46, -33), (9, 7, 9)) & (image < 0.6)
    low |= capsule(x, y, z, ((0, 45, -36), (0, 50, -50), (0, 54, -58)), (3.0, 2.4, 2.6))
    labels[lateral & hull] = Tissue.LATERAL_VENTRICLE
    labels[low & within & ~lateral] = Tissue.LOWER_VENTRICLES
    drawn = np.isin(labels, FLUID) & (image > 0.75)  # tubes through solid tissue stay thin lines
    labels[drawn & ~low & ~lateral] = Tissue.GREY
    return labels


def _other_contrast(image: Float32, rng: np.random.Generator) -> Float32:
    """Another scanner's grey scale: fluid, grey matter and fat against white matter."""
    fluid, grey, fat = rng.uniform(0.16, 0.48), rng.uniform(0.6, 0.88), rng.uniform(0.8, 1.25)
    known = (0.0, 0.08, 0.30, 0.72, 1.0, 1.75, 2.2)
    becomes = (0.0, 0.08 * rng.uniform(0.5, 1.2), fluid, grey, 1.0, 1.75 * fat, 2.2 * fat)
    return np.asarray(np.interp(image, known, becomes), dtype=np.float32)
