"""From a case's report.json to the groups of facts that its page shows. Pure; plain JSON values in.

Only what is named here reaches the page, so a report that learns of new things cannot leak them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.errors import Reason
from service.monitoring.snapshot import CheckView, FactGroup
from service.monitoring.wording import NOTHING

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A value of a report: the keys that lead to it, and how it is shown."""

    name: str
    path: tuple[str, ...]
    unit: str = ""


_GROUPS: tuple[tuple[str, tuple[_Row, ...]], ...] = (
    (
        "Model",
        (
            _Row(name="Name", path=("model", "name")),
            _Row(name="Version", path=("model", "version")),
            _Row(name="Execution provider", path=("model", "provider")),
            _Row(name="Trained on simulated tracer", path=("model", "simulated_training")),
        ),
    ),
    (
        "Series",
        (
            _Row(name="Baseline instances", path=("baseline", "instances")),
            _Row(name="Delayed instances", path=("delayed", "instances")),
        ),
    ),
    (
        "Registration",
        (
            _Row(name="Rotation", path=("registration", "rotation_deg"), unit="°"),
            _Row(name="Similarity before", path=("registration", "similarity_before")),
            _Row(name="Similarity after", path=("registration", "similarity_after")),
            _Row(name="Forwards and backwards differ by", path=("registration", "inverse_consistency_mm"), unit=" mm"),
            _Row(name="Two starts differ by", path=("registration", "two_start_mm"), unit=" mm"),
        ),
    ),
    (
        "Signal reference (orbital fat)",
        (
            _Row(name="Mode", path=("normalisation", "mode")),
            _Row(name="Reference", path=("normalisation", "reference")),
            _Row(name="Median, baseline", path=("normalisation", "orbital_fat", "median")),
            _Row(name="Median, delayed", path=("normalisation", "orbital_fat_delayed", "median")),
            _Row(name="Voxels, baseline", path=("normalisation", "orbital_fat", "voxels")),
            _Row(name="Left, baseline", path=("normalisation", "orbital_fat", "left")),
            _Row(name="Right, baseline", path=("normalisation", "orbital_fat", "right")),
        ),
    ),
    (
        "Ventricular reflux at 24 h, predicted",
        (
            _Row(name="Grade", path=("reflux", "grade_24h")),
            _Row(name="Grades that the model's own bounds allow, from and to", path=("reflux", "grade_range")),
            _Row(name="Index", path=("reflux", "index")),
            _Row(name="Interval", path=("reflux", "interval")),
        ),
    ),
    (
        "Uncertainty",
        (
            _Row(name="Mean width, in fat signal", path=("uncertainty", "mean_width_fat_units")),
            _Row(name="Calibration", path=("uncertainty", "calibration")),
        ),
    ),
)


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


def fact_groups(report: Json) -> tuple[FactGroup, ...]:
    """What a report says of model, registration, normalisation, reflux and uncertainty; empty groups are left out."""
    groups = []
    for title, rows in _GROUPS:
        shown = tuple(
            (row.name, _text(value) + row.unit) for row in rows if (value := _at(report, row.path)) is not None
        )
        if shown:
            groups.append(FactGroup(title=title, rows=shown))
    return tuple(groups)


def stage_seconds(report: Json) -> dict[str, float]:
    """Seconds per stage, without the total."""
    timings: Json = report.get("timings_s", {})
    return {stage: float(seconds) for stage, seconds in timings.items() if stage != "total"}


def checks(report: Json) -> tuple[CheckView, ...]:
    """Every check with its figure and limit, in the order they were made."""
    made = report.get("checks", ())
    total = Counter(found["code"] for found in made)
    seen: Counter[str] = Counter()
    views = []
    for found in made:
        code = found["code"]
        views.append(
            CheckView(
                code=code,
                measures=MEASURES.get(code, code) + _of_which(code, seen[code], repeated=total[code] > 1),
                measured=found.get("measured"),
                limit=found["limit"],
                verdict="pass" if found["passed"] else "warn" if found["action"] == "WARN" else "reject",
            )
        )
        seen[code] += 1
    return tuple(views)


def _of_which(code: str, number: int, *, repeated: bool) -> str:
    """Which of the two series, or of a slice pair's planes, a check that is made twice was made on."""
    if not repeated and code not in _OF_EACH_SERIES:
        return ""
    names = ("sagittal", "axial") if code.startswith("PREDICTION") else ("baseline", "delayed")
    return f", {names[number]}" if number < len(names) else ""


def warnings(report: Json) -> tuple[Reason, ...]:
    """What a reader should know."""
    return tuple(
        Reason(code=found["code"], message=found["message"], measured=found.get("measured"), limit=found.get("limit"))
        for found in report.get("warnings", ())
    )


def _at(report: Json, path: tuple[str, ...]) -> object:
    value: object = report
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " to ".join(_text(item) if item is not None else NOTHING for item in value)
    return str(value)
