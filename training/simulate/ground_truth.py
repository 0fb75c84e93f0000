"""Ground-truth Anatomy of a label map, in the head's own frame and after a change of pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from service.imaging.recipe_types import Anatomy, Orbit, Plane
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Mask
from training.simulate.tissues import BRAIN, FLUID, Labels, Tissue

_GLOBES_BELOW_AXIAL_DEG = 35.0  # as in service.imaging.planes


def describe(
    labels: Labels, grid: Grid, midline_x: Float32, orbit_axes: tuple[tuple[Float64, Float64], tuple[Float64, Float64]]
) -> Anatomy:
    """The Anatomy of `labels`; masks on a 2x coarser grid.

    Parameters
    ----------
    midline_x
        Warped left-right coordinate per voxel; its zero set is the mid-sagittal surface.
    orbit_axes
        Nominal (globe centre, apex direction) of the left and the right orbit.
    """
    brain = np.isin(labels, BRAIN)
    sagittal = _fit_midline(brain & (np.abs(midline_x) < grid.spacing[0]), grid)
    centre = _centroid(brain, grid)
    orbits = [_orbit(labels, grid, side, axis) for side, (_, axis) in zip((1, -1), orbit_axes, strict=True)]
    ventricles = labels == Tissue.LATERAL_VENTRICLE
    up = _head_up(sagittal, centre, [o.globe_centre for o in orbits])
    level = _widest_level(ventricles, grid, centre, up)
    coarse = Grid.axis_aligned(
        (grid.shape[0] // 2, grid.shape[1] // 2, grid.shape[2] // 2), grid.spacing[0] * 2, grid.centre
    )
    return Anatomy(
        grid=coarse,
        head=_halve(labels != Tissue.AIR),
        brain=_halve(ndimage.binary_closing(brain, iterations=3) | ventricles),
        csf=_halve(np.isin(labels, FLUID)),
        lateral_ventricles=_halve(ventricles),
        brain_centre=centre,
        midsagittal=sagittal,
        axial=Plane(origin=centre + up * level, normal=up),
        left_orbit=orbits[0],
        right_orbit=orbits[1],
    )


def move(anatomy: Anatomy, pose: RigidTransform, grid: Grid, labels: Labels, label_grid: Grid) -> Anatomy:
    """`anatomy` as seen in a scanner; `pose` maps scanner points to head points (LPS mm).

    Masks are re-evaluated on `grid` (scanner frame) from the nearest label.
    """
    back = pose.inverse()
    nk, nj, ni = grid.shape
    k, j, i = np.meshgrid(np.arange(nk), np.arange(nj), np.arange(ni), indexing="ij")
    points = grid.to_world(np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1))
    index = np.rint(label_grid.to_index(pose.map(points))).astype(int)
    inside = ((index >= 0) & (index < np.array(label_grid.shape[::-1]))).all(axis=1)
    index = np.clip(index, 0, np.array(label_grid.shape[::-1]) - 1)
    found = np.where(inside, labels[index[:, 2], index[:, 1], index[:, 0]], Tissue.AIR).reshape(grid.shape)
    brain = np.isin(found, BRAIN)
    left, right = anatomy.left_orbit, anatomy.right_orbit
    return replace(
        anatomy,
        grid=grid,
        head=found != Tissue.AIR,
        brain=ndimage.binary_closing(brain, iterations=2) | (found == Tissue.LATERAL_VENTRICLE),
        csf=np.isin(found, FLUID),
        lateral_ventricles=found == Tissue.LATERAL_VENTRICLE,
        brain_centre=back.map(anatomy.brain_centre[None])[0],
        midsagittal=anatomy.midsagittal.moved(back),
        axial=anatomy.axial.moved(back),
        left_orbit=left and left.moved(back),
        right_orbit=right and right.moved(back),
    )


def _halve(mask: Mask) -> Mask:
    k, j, i = (n // 2 * 2 for n in mask.shape)
    return np.asarray(mask[:k, :j, :i].reshape(k // 2, 2, j // 2, 2, i // 2, 2).mean(axis=(1, 3, 5)) >= 0.5)


def _centroid(mask: Mask, grid: Grid) -> Float64:
    return np.asarray(grid.to_world(np.argwhere(mask)[:, ::-1]).mean(axis=0))


def _fit_midline(mask: Mask, grid: Grid) -> Plane:
    points = grid.to_world(np.argwhere(mask)[:, ::-1])
    centre = points.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((points - centre).T))
    normal = vectors[:, 0] * np.sign(vectors[0, 0])
    return Plane(origin=centre, normal=normal)


def _orbit(labels: Labels, grid: Grid, side: int, axis: Float64) -> Orbit:
    globe = grid.to_world(np.argwhere(labels == Tissue.VITREOUS)[:, ::-1])
    centre = globe[np.sign(globe[:, 0]) == side].mean(axis=0)
    fat = ndimage.binary_erosion(labels == Tissue.ORBITAL_FAT)
    points = grid.to_world(np.argwhere(fat)[:, ::-1])
    relative = points - centre
    along = relative @ axis
    aside = np.linalg.norm(relative - along[:, None] * axis, axis=1)
    cone = (
        (np.sign(points[:, 0]) == side) & (along > 13.5) & (along < 34) & (aside < np.interp(along, (14, 34), (9, 4)))
    )
    return Orbit(globe_centre=centre, fat_points=points[cone])


def _head_up(sagittal: Plane, centre: Float64, globes: list[Float64]) -> Float64:
    left = sagittal.normal
    forward = np.mean(globes, axis=0) - centre
    forward -= left * float(forward @ left)
    forward /= np.linalg.norm(forward)
    steep = np.cross(left, forward)
    steep = steep if steep[2] > 0 else -steep
    raised = np.deg2rad(_GLOBES_BELOW_AXIAL_DEG)
    return np.asarray(np.cos(raised) * steep - np.sin(raised) * forward)


def _widest_level(ventricles: Mask, grid: Grid, centre: Float64, up: Float64) -> float:
    heights = (grid.to_world(np.argwhere(ventricles)[:, ::-1]) - centre) @ up
    low, high = np.percentile(heights, [1, 99])
    levels = np.arange(low + 0.4 * (high - low), high + 0.5, 1.0)
    area = [np.count_nonzero(np.abs(heights - level) <= 3.0) for level in levels]
    return float(levels[int(np.argmax(area))])
