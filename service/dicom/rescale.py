"""From stored pixel values to real ones: linear, per frame.

Philips scanners state two slopes. The console shows ``DV = SV x RS + RI`` (RS, RI: Rescale Slope and
Intercept); the signal that was reconstructed is ``FP = DV / (RS x SS)``, SS: the private Scale Slope
(2005,xx0E). RS and SS may differ between series, and between slices where a protocol asks for it; only FP is
comparable. Source: Chenevert et al., Translational Oncology 7 (2014) 65-71, PMC3998685; the same formula
stands in the header of every Philips PAR file and is dcm2niix' 'precise' scaling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pydicom.dataset import Dataset

from service.dicom import header_values as read
from service.dicom.multiframe import Frame
from service.errors import InputRefused, Reason

_PHILIPS = "Philips MR Imaging DD 001"
_PHILIPS_SCALE_SLOPE = 0x0E


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """``real = stored x slope + intercept``.

    Attributes
    ----------
    kind
        Which statement it came from; planes of one volume must agree, since the units differ.
    modality_slope, modality_intercept
        Of the modality's own rescale, in whose units the window is stated (PS3.3 C.11.2).
    """

    kind: Literal["stored", "modality", "philips", "real world"]
    slope: float
    intercept: float
    modality_slope: float
    modality_intercept: float

    def window_in_real_values(self, centre: float, width: float) -> tuple[float, float]:
        """A window stated in modality units."""
        stored = (centre - self.modality_intercept) / self.modality_slope
        return stored * self.slope + self.intercept, abs(width * self.slope / self.modality_slope)


def rescale_of(frame: Frame) -> Rescale:
    """Find what maps a frame's stored values to real ones.

    In this order: Philips' scale slope on top of the modality's rescale; Rescale Slope and Intercept of the
    instance or the frame's Pixel Value Transformation; a single linear Real World Value Mapping; none.
    A mapping beside a rescale is not used: it repeats it (Philips) or states another quantity.

    Raises
    ------
    InputRefused
        RESCALE_UNUSABLE: a Modality LUT, a non-linear or ambiguous Real World Value Mapping, or a slope
        that is zero or not a number.
    """
    if read.items(frame.root, "ModalityLUTSequence"):
        raise _unusable("a Modality LUT, which is not linear")
    rescale = _modality_rescale(frame)
    scale_slope = frame.private_number(0x2005, _PHILIPS, _PHILIPS_SCALE_SLOPE)
    if scale_slope:
        return replace(
            rescale,
            kind="philips",
            slope=1 / scale_slope,
            intercept=rescale.intercept / (rescale.slope * scale_slope),
        )
    if rescale.kind == "modality":
        return rescale
    return _real_world_mapping(frame) or rescale


def _modality_rescale(frame: Frame) -> Rescale:
    slope_holder, intercept_holder = frame.holder("RescaleSlope"), frame.holder("RescaleIntercept")
    stated = "RescaleSlope" in slope_holder or "RescaleIntercept" in intercept_holder
    slope, intercept = _stated(slope_holder, "RescaleSlope", 1.0), _stated(intercept_holder, "RescaleIntercept", 0.0)
    if slope == 0:
        raise _unusable("a Rescale Slope of zero")
    return Rescale(
        kind="modality" if stated else "stored",
        slope=slope,
        intercept=intercept,
        modality_slope=slope,
        modality_intercept=intercept,
    )


def _real_world_mapping(frame: Frame) -> Rescale | None:
    keyword = "RealWorldValueMappingSequence"
    mappings = next(
        (found for place in (frame.own, frame.shared, frame.root) if (found := read.items(place, keyword))), []
    )
    if not mappings:
        return None
    slope = read.number(mappings[0], "RealWorldValueSlope")
    intercept = read.number(mappings[0], "RealWorldValueIntercept")
    if len(mappings) > 1 or slope is None or intercept is None or slope == 0:
        raise _unusable("a Real World Value Mapping that is not one straight line")
    return Rescale(kind="real world", slope=slope, intercept=intercept, modality_slope=1.0, modality_intercept=0.0)


def _stated(holder: Dataset, keyword: str, default: float) -> float:
    found = read.number(holder, keyword)
    if found is not None:
        return found
    if read.is_stated(holder, keyword):
        raise _unusable(f"a {keyword} that is not a number")
    return default


def _unusable(found: str) -> InputRefused:
    return InputRefused(
        Reason(
            code="RESCALE_UNUSABLE",
            message=f"The series states {found}; real values need a linear rescale. Send the original images.",
        )
    )
