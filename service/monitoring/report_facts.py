"""From a case's report.json to the groups of facts that its page shows. Pure; plain JSON values in.

Only what is named here reaches the page, so a report that learns of new things cannot leak them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.check_words import names_of
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
    return tuple(
        CheckView(
            code=found["code"],
            measures=name,
            measured=found.get("measured"),
            limit=found["limit"],
            verdict="pass" if found["passed"] else "warn" if found["action"] == "WARN" else "reject",
        )
        for found, name in zip(made, names_of([found["code"] for found in made]), strict=True)
    )


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
