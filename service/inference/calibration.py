"""Offsets that make a model's interval hold what it promises, found on patients that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.imaging.volume import Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Split conformal calibration of the quantiles (Romano et al. 2019), the patient as its unit.

    Attributes
    ----------
    offsets
        Added to each output channel, in the order of `PreprocessingRecipe.quantiles`, fat units; 0 for the median.
    coverage
        Share of a patient's voxels in brain and fluid that each bound is to leave on its inner side.
    patients
        How many it rests on.
    guaranteed
        Least share of further patients, like those, for whom each bound does; by the number of patients alone.
    simulated
        Whether those patients are.
    """

    offsets: tuple[float, ...]
    coverage: float
    patients: int
    guaranteed: float
    simulated: bool

    def __post_init__(self) -> None:
        if not all(np.isfinite(value) for value in (*self.offsets, self.coverage, self.guaranteed)):
            raise ValueError(f"calibration has values that are not finite: {self.offsets}")

    @property
    def text(self) -> str:
        """In words, for reports."""
        return (
            f"conformal on {self.patients} {'SIMULATED ' if self.simulated else ''}patients: each bound holds "
            f"{self.coverage:.0%} of the voxels in at least {self.guaranteed:.0%} of patients like those"
        )


def calibration_from(document: Mapping[str, Any], channels: int) -> Calibration:
    """As a manifest holds it.

    Raises
    ------
    ValueError, TypeError
        It does not fit a model of so many output channels.
    """
    found = Calibration(**{**document, "offsets": tuple(float(v) for v in document["offsets"])})
    if len(found.offsets) != channels or found.offsets[0] != 0:
        raise ValueError(f"calibration offsets {found.offsets} do not fit {channels} quantiles, the first uncorrected")
    return found


def calibrated(output: Float32, calibration: Calibration | None) -> Float32:
    """A volume model's answer ``(1, Q, D, H, W)`` with its bounds moved, never past the median; unchanged without."""
    if calibration is None:
        return output
    moved = output.copy()
    for channel, offset in enumerate(calibration.offsets[1:], start=1):
        bound = output[:, channel] + np.float32(offset)
        below = output[:, channel] <= output[:, 0]
        moved[:, channel] = np.where(below, np.minimum(bound, output[:, 0]), np.maximum(bound, output[:, 0]))
    return moved
