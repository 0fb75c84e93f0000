"""find_anatomy(): what the pipeline needs to know of a head, from its T1 volume.

A coarse average head is laid over the volume (`atlas_pose`), the volume is turned upright by that - its affine only,
no voxel is touched - and every part is looked for where an upright head has it. Then all is turned back.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging.atlas_pose import AtlasPose, NoPoseError, find_pose
from service.imaging.head_atlas import LEFT_GLOBE, SUPRASELLAR, THIRD_VENTRICLE, head_atlas
from service.imaging.head_mask import WORKING_SPACING_MM, NotAHeadError, outline
from service.imaging.orbits import find_orbits
from service.imaging.planes import axial, mask_centroid, midsagittal
from service.imaging.recipe_types import Anatomy, Orbit, Plane
from service.imaging.resampling import antialiased, resample
from service.imaging.rigid import RigidTransform
from service.imaging.ventricles import lateral_ventricles, suprasellar_cistern, third_ventricle
from service.imaging.volume import Float32, Float64, Grid, Volume

_LEAST_LIKENESS = 0.1
"""Of the average head: whole real T1 heads that are not in it 0.35-0.9, drawn ones 0.12-0.45; CT, diffusion, most T2
and objects below 0.1."""
_BOX_LOW_LPS = (-104.0, -136.0, -118.0)  # an upright head around its anterior commissure, nose and C1 included
_BOX_HIGH_LPS = (104.0, 136.0, 114.0)


def find_anatomy(volume: Volume) -> Anatomy:
    """Masks, planes and orbits of a T1 head.

    Any slice orientation; the head may be turned up to 30 degrees about any axis. `Anatomy.grid` runs along the
    head's own axes.

    Raises
    ------
    InputRefused
        NOT_A_HEAD: no head or brain of plausible size can be outlined.
    """
    try:
        volume = volume.along_patient_axes()  # so that the order of slices and rows changes nothing, to the last bit
        smooth = antialiased(volume, WORKING_SPACING_MM)
        pose = find_pose(smooth)
        if pose.likeness < _LEAST_LIKENESS:
            raise NotAHeadError(
                f"it correlates {pose.likeness:.2f} with an average T1 head, at least {_LEAST_LIKENESS} is accepted"
            )
        to_upright = pose.upright.inverse()
        image = resample(_turned(smooth, to_upright), _box())
        anatomy = _upright_anatomy(_turned(volume, to_upright), image, _from_upright(pose))
    except (NoPoseError, NotAHeadError) as why:
        message = f"The baseline does not look like an unenhanced T1 head: {why}."
        raise InputRefused(Reason(code="NOT_A_HEAD", message=message)) from why
    return _turn_back(anatomy, pose.upright)


def _upright_anatomy(volume: Volume, image: Volume, pose: AtlasPose) -> Anatomy:
    """From an upright head at its own resolution and the same at 2 mm."""
    grid = image.grid
    atlas = head_atlas()
    masks = outline(image, _on_head(atlas.brain, pose, grid) > 0.5)
    sagittal = midsagittal(masks)
    centre = mask_centroid(masks.brain, masks)
    expected = pose.upright.map(LEFT_GLOBE * [[1, 1, 1], [-1, 1, 1]])
    left, right = find_orbits(volume, masks, sagittal, (expected[0], expected[1]))
    ventricles = lateral_ventricles(masks, sagittal, _on_head(atlas.ventricles, pose, grid))
    places = _stretched(np.stack([THIRD_VENTRICLE, SUPRASELLAR]), pose)
    third = third_ventricle(masks, sagittal, places[0], ventricles)
    return Anatomy(
        grid=grid,
        head=masks.head,
        brain=masks.brain,
        csf=masks.csf,
        lateral_ventricles=ventricles,
        brain_centre=centre,
        midsagittal=sagittal,
        axial=axial(masks, sagittal, ventricles),
        left_orbit=left,
        right_orbit=right,
        third_ventricle=third,
        suprasellar=suprasellar_cistern(masks, sagittal, places[1], third),
    )


def _box() -> Grid:
    low, high = np.array(_BOX_LOW_LPS), np.array(_BOX_HIGH_LPS)
    ni, nj, nk = (int(n) for n in np.rint((high - low) / WORKING_SPACING_MM))
    return Grid.axis_aligned((nk, nj, ni), WORKING_SPACING_MM, (low + high) / 2)


def _turned(volume: Volume, turn: RigidTransform) -> Volume:
    return Volume(volume.array, Grid(volume.grid.shape, turn.matrix @ volume.grid.affine))


def _from_upright(pose: AtlasPose) -> AtlasPose:
    """The same pose, with the volume turned upright."""
    matrix = pose.upright.inverse().matrix @ pose.matrix
    return AtlasPose(upright=RigidTransform.identity(), matrix=matrix, likeness=pose.likeness)


def _stretched(points: Float64, pose: AtlasPose) -> Float64:
    """Atlas points in the head, its size fitted."""
    return np.asarray(points @ pose.matrix[:3, :3].T + pose.matrix[:3, 3])


def _on_head(probability: Volume, pose: AtlasPose, grid: Grid) -> Float32:
    """An atlas volume, stretched to the head's size, on `grid`."""
    stretched = Volume(probability.array, Grid(probability.grid.shape, pose.matrix @ probability.grid.affine))
    return resample(stretched, grid).array


def _turn_back(anatomy: Anatomy, turn: RigidTransform) -> Anatomy:
    rotation = turn.matrix[:3, :3]

    def point(p: Float64) -> Float64:
        return np.asarray(turn.map(p[None])[0])

    def plane(p: Plane) -> Plane:
        return Plane(origin=point(p.origin), normal=rotation @ p.normal)

    def orbit(o: Orbit | None) -> Orbit | None:
        return o and Orbit(globe_centre=point(o.globe_centre), fat_points=turn.map(o.fat_points))

    return replace(
        anatomy,
        grid=Grid(anatomy.grid.shape, turn.matrix @ anatomy.grid.affine),
        brain_centre=point(anatomy.brain_centre),
        midsagittal=plane(anatomy.midsagittal),
        axial=plane(anatomy.axial),
        left_orbit=orbit(anatomy.left_orbit),
        right_orbit=orbit(anatomy.right_orbit),
    )
