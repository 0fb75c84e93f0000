"""find_anatomy(): what the pipeline needs to know of a head, from its T1 volume.

A coarse average head is laid over the volume (`atlas_pose`), the volume is turned upright by that - its affine only,
no voxel is touched - and every part is looked for where an upright head has it. Then all is turned back.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging.atlas_pose import NoPoseError, find_pose
from service.imaging.head_atlas import LEFT_GLOBE, SUPRASELLAR, THIRD_VENTRICLE, head_atlas
from service.imaging.head_mask import WORKING_SPACING_MM, NotAHeadError, outline
from service.imaging.orbits import find_orbits
from service.imaging.planes import axial, mask_centroid, midsagittal
from service.imaging.recipe_types import Anatomy
from service.imaging.resampling import antialiased, resample
from service.imaging.rigid import RigidTransform
from service.imaging.ventricles import lateral_ventricles, suprasellar_cistern, third_ventricle
from service.imaging.volume import Float32, Float64, Grid, Volume

_LEAST_LIKENESS = 0.1
"""Of the average head: whole real T1 heads that are not in it 0.35-0.9; CT, diffusion, most T2 and objects below 0.1;
drawn heads 0.06-0.45, so that some are refused. `python -m tests.benchmarks anatomy` prints it for every head."""
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
        to_upright = pose.upright.inverse().matrix
        image = resample(smooth.moved(to_upright), _box())
        anatomy = _upright_anatomy(volume.moved(to_upright), image, to_upright @ pose.matrix)
    except (NoPoseError, NotAHeadError) as why:
        message = (
            f"The baseline does not look like an unenhanced T1 head: {why}. Send the 3D T1 series of the whole head."
        )
        raise InputRefused(Reason(code="NOT_A_HEAD", message=message)) from why
    return _turn_back(anatomy, pose.upright)


def _upright_anatomy(volume: Volume, image: Volume, to_head: Float64) -> Anatomy:
    """From an upright head at its own resolution and the same at 2 mm.

    Its frame is the atlas's but for the head's size, which `to_head` (4x4, atlas -> head) fits.
    """
    grid = image.grid
    atlas = head_atlas()
    masks = outline(image, _on_head(atlas.brain, to_head, grid) > 0.5)
    sagittal = midsagittal(masks)
    centre = mask_centroid(masks.brain, masks)
    left, right = find_orbits(volume, masks, sagittal, (LEFT_GLOBE, LEFT_GLOBE * [-1, 1, 1]))
    ventricles = lateral_ventricles(masks, sagittal, _on_head(atlas.ventricles, to_head, grid))
    places = np.stack([THIRD_VENTRICLE, SUPRASELLAR]) @ to_head[:3, :3].T + to_head[:3, 3]
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


def _on_head(probability: Volume, to_head: Float64, grid: Grid) -> Float32:
    """An atlas volume, stretched to the head's size, on `grid`."""
    return resample(probability.moved(to_head), grid).array


def _turn_back(anatomy: Anatomy, turn: RigidTransform) -> Anatomy:
    left, right = anatomy.left_orbit, anatomy.right_orbit
    return replace(
        anatomy,
        grid=anatomy.grid.moved(turn.matrix),
        brain_centre=turn.map(anatomy.brain_centre[None])[0],
        midsagittal=anatomy.midsagittal.moved(turn),
        axial=anatomy.axial.moved(turn),
        left_orbit=left and left.moved(turn),
        right_orbit=right and right.moved(turn),
    )
