"""find_anatomy(): what the pipeline needs to know of a head, from its unenhanced T1 volume."""

from __future__ import annotations

from service.errors import InputRefused, Reason
from service.imaging.head_mask import NotAHeadError, outline
from service.imaging.orbits import find_orbits
from service.imaging.planes import axial, head_up, mask_centroid, midsagittal
from service.imaging.recipe_types import Anatomy
from service.imaging.ventricles import lateral_ventricles
from service.imaging.volume import Volume


def find_anatomy(baseline: Volume) -> Anatomy:
    """Masks, planes and orbits of an unenhanced T1 head.

    Any slice orientation; the head may be turned up to 30 degrees about any axis.

    Raises
    ------
    InputRefused
        NOT_A_HEAD: no head or brain of plausible size can be outlined.
    """
    try:
        masks = outline(baseline)
    except NotAHeadError as why:
        message = f"The baseline does not look like an unenhanced T1 head: {why}."
        raise InputRefused(Reason(code="NOT_A_HEAD", message=message)) from why
    sagittal = midsagittal(masks)
    centre = mask_centroid(masks.brain, masks)
    left, right = find_orbits(baseline, masks, sagittal)
    ventricles = lateral_ventricles(masks, sagittal, head_up(sagittal, centre, (left, right)))
    return Anatomy(
        grid=masks.image.grid,
        head=masks.head,
        brain=masks.brain,
        csf=masks.csf,
        lateral_ventricles=ventricles,
        brain_centre=centre,
        midsagittal=sagittal,
        axial=axial(masks, sagittal, ventricles, (left, right)),
        left_orbit=left,
        right_orbit=right,
    )
