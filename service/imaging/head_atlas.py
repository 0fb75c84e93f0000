"""A coarse average head: what a T1 head looks like, and where its parts lie.

`head_atlas.npz` is made by ``csf24-training head-atlas`` from heads whose parts are known; it holds averages at 4 mm
only. Atlas space is that of MNI152 (ICBM 2009a, symmetric) with DICOM's axes - x to the left, y to the back, z up,
origin at the anterior commissure, mm - times 0.92, because the MNI templates are larger than heads are
(Lancaster et al. 2007, 10.1002/hbm.20345).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from service.imaging.volume import Float64, Grid, Volume

ATLAS_FILE = "head_atlas.npz"
ATLAS_SPACING_MM = 4.0
MNI_TO_ATLAS = 0.92

LEFT_GLOBE: Float64 = np.array([31.0, -55.0, -37.0])
THIRD_VENTRICLE: Float64 = np.array([0.0, 10.0, 0.0])
SUPRASELLAR: Float64 = np.array([0.0, -2.0, -17.0])

_SIGNAL_LEVELS = 100.0  # per brain signal
_PROBABILITY_LEVELS = 200.0
_ORIGIN_SHIFT_MM = 256.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadAtlas:
    """Averages on one lattice in atlas space.

    Attributes
    ----------
    head
        Expected T1 signal, 1 = median of the brain; negative where the heads behind the atlas show nothing.
    brain
        Probability of brain and of the fluid within its hull.
    ventricles
        Probability of lateral ventricle.
    """

    head: Volume
    brain: Volume
    ventricles: Volume


def pack(atlas: HeadAtlas) -> dict[str, NDArray[np.uint8]]:
    """What `ATLAS_FILE` holds: signal in hundredths with 0 for unknown, probabilities in 1/200."""
    head = np.where(atlas.head.array < 0, 0, 1 + atlas.head.array * _SIGNAL_LEVELS)
    scaled = {
        "head": head,
        "brain": atlas.brain.array * _PROBABILITY_LEVELS,
        "ventricles": atlas.ventricles.array * _PROBABILITY_LEVELS,
        "origin_lps": atlas.head.grid.origin + _ORIGIN_SHIFT_MM,
    }
    return {name: np.clip(np.rint(values), 0, 255).astype(np.uint8) for name, values in scaled.items()}


def unpack(stored: dict[str, NDArray[np.uint8]]) -> HeadAtlas:
    """The reverse of `pack`."""
    affine = np.diag([ATLAS_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = stored["origin_lps"].astype(np.float64) - _ORIGIN_SHIFT_MM
    nk, nj, ni = stored["head"].shape
    grid = Grid((nk, nj, ni), affine)
    return HeadAtlas(
        head=Volume((stored["head"].astype(np.float32) - 1) / np.float32(_SIGNAL_LEVELS), grid),
        brain=Volume(stored["brain"].astype(np.float32) / np.float32(_PROBABILITY_LEVELS), grid),
        ventricles=Volume(stored["ventricles"].astype(np.float32) / np.float32(_PROBABILITY_LEVELS), grid),
    )


@cache
def head_atlas() -> HeadAtlas:
    """The atlas that ships with the package."""
    with files("service.imaging").joinpath(ATLAS_FILE).open("rb") as stream, np.load(stream) as stored:
        return unpack(dict(stored))
