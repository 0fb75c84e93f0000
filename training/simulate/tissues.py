"""The tissue labels of a simulated head and where a head's parts lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from service.imaging.recipe_types import Anatomy
from service.imaging.volume import Grid

Labels = NDArray[np.uint8]


class Tissue(IntEnum):
    """One label per voxel; CSF is split because the ventricles join the rest only through their outlets."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    CSF = 6
    GREY = 7
    WHITE = 8
    LATERAL_VENTRICLE = 9
    LOWER_VENTRICLES = 10
    VITREOUS = 11
    ORBITAL_FAT = 12
    NERVE = 13
    DEEP_GREY = 14


BRAIN = (Tissue.GREY, Tissue.WHITE, Tissue.DEEP_GREY)
VENTRICLES = (Tissue.LATERAL_VENTRICLE, Tissue.LOWER_VENTRICLES)
FLUID = (Tissue.CSF, *VENTRICLES)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A simulated head in its own frame (LPS mm, origin near the brain's centre).

    Attributes
    ----------
    labels
        ``[k, j, i]`` uint8 of `Tissue` on `grid`.
    anatomy
        Ground truth in the head's frame.
    """

    labels: Labels
    grid: Grid
    anatomy: Anatomy
