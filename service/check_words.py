"""What the checks measure, in words: the same on the case's page, on the status page, wherever people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

MEASURES: Mapping[str, str] = {
    "NOT_FINITE": "Share of pixel values that are defined",
    "MATRIX_TOO_LARGE": "Size of the volume",
    "VOXELS_TOO_THICK": "Longest side of a voxel",
    "FIELD_OF_VIEW_SHORT": "Shortest side of the field of view",
    "LOW_DYNAMIC_RANGE": "Grey levels in use",
    "CONSTANT_IMAGE": "Contrast of the series",
    "SLICES_BLANK": "Blank slices inside the volume",
    "SIGNAL_CLIPPED": "Bright pixels at the highest value",
    "SAME_PIXELS": "Noise that both series share",
    "BRAIN_VOLUME": "Volume of the brain",
    "BRAIN_CUT": "Brain at the edge of the baseline",
    "FLUID_NOT_DARK": "Dark fluid in the baseline",
    "VENTRICLES_NOT_FOUND": "Volume of the lateral ventricles",
    "ORBITS_NOT_FOUND": "Orbits found",
    "WHITE_NOT_BRIGHT": "White matter against cortex, baseline",
    "FLUID_BRIGHT": "Darkest fluid against brain, baseline",
    "LOW_SNR": "Signal over noise",
    "SPIKE_NOISE": "Strongest stripe in the spectrum",
    "AIR_NOT_DARK": "Ghosts in the air",
    "BASE_CUT": "Field of view below the brain's centre",
    "HEAD_AT_EDGE": "Head at the upper or rear edge",
    "ROTATION_TOO_LARGE": "Turn of the head between the series",
    "REGISTRATION_INCONSISTENT": "Registration forwards against backwards",
    "REGISTRATION_AMBIGUOUS": "Registration from another start",
    "NOT_THE_SAME_HEAD": "Likeness of the two heads",
    "STRUCTURE_DIFFERS": "Likeness of the fine structure",
    "PART_DISPLACED": "Gain of agreement where a part is moved",
    "SLICES_OUT_OF_PLACE": "Rise of difference from slice to slice",
    "SHARPNESS_DIFFERS": "Sharpness, delayed over baseline",
    "DELAYED_COVERAGE": "Brain covered by the delayed series",
    "FAT_SMALL": "Orbital fat found",
    "FAT_VARIABLE": "Variation within the orbital fat",
    "FAT_ASYMMETRIC": "Left against right orbital fat",
    "FAT_NOT_BRIGHT": "Orbital fat against brain",
    "FAT_DRIFT": "Fat against brain, delayed over baseline",
    "WHITE_VARIABLE": "Spread of white matter, the reference in place of fat",
    "REFERENCE_IS_WHITE_MATTER": "What was wrong with the orbital fat",
    "NO_TRACER": "Brightening of the basal fluid",
    "TRACER_IN_NOISE": "Brightening of the basal fluid over its noise",
    "VESSELS_ENHANCED": "Brightening of the sagittal sinus over the fluid's",
    "TRACER_EXCESSIVE": "Strongest brightening of the basal fluid",
    "ORDER_SWAPPED": "Darkening of the basal fluid",
    "PREDICTION_NOT_FINITE": "Share of predicted values that are defined",
    "PREDICTION_TOO_BRIGHT": "Largest predicted increase",
    "INPUT_UNUSUAL": "Distance from the model's training patients",
    "PREDICTION_DARKENS": "Lowest predicted increase",
    "INTERVAL_CROSSED": "Predictions outside their own interval",
    "PREDICTION_OUTSIDE_HEAD": "Predicted increase outside the head",
}
"""What the figure of each check is; a code names what would be wrong, which a passed check does not say."""
_OF_EACH_SERIES = frozenset(
    {
        "NOT_FINITE",
        "MATRIX_TOO_LARGE",
        "VOXELS_TOO_THICK",
        "FIELD_OF_VIEW_SHORT",
        "LOW_DYNAMIC_RANGE",
        "CONSTANT_IMAGE",
        "SLICES_BLANK",
        "SIGNAL_CLIPPED",
        "LOW_SNR",
        "SPIKE_NOISE",
        "AIR_NOT_DARK",
        "BASE_CUT",
        "HEAD_AT_EDGE",
    }
)


def names_of(codes: Sequence[str]) -> tuple[str, ...]:
    """What each check of a case measured, in the order of `codes`, which is the order they were made in.

    A check that is made twice says on which of the two series, or of a slice pair's planes, it was made.
    """
    total = Counter(codes)
    seen: Counter[str] = Counter()
    names = []
    for code in codes:
        names.append(MEASURES.get(code, code) + _of_which(code, seen[code], repeated=total[code] > 1))
        seen[code] += 1
    return tuple(names)


def _of_which(code: str, number: int, *, repeated: bool) -> str:
    if not repeated and code not in _OF_EACH_SERIES:
        return ""
    names = ("sagittal", "axial") if code.startswith("PREDICTION") else ("baseline", "delayed")
    return f", {names[number]}" if number < len(names) else ""
