"""report.json: what became of a case, for scripts and people. Pure: facts in, plain JSON values out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from service.cases import CaseOutcome
from service.errors import Reason
from service.imaging.recipe_types import OrbitalFat, Registration, RestoredPrediction
from service.imaging.reflux import Reflux
from service.inference.manifest import ModelManifest
from service.inference.predictor import ModelIdentity
from service.pipeline import Outcome

SCHEMA_VERSION = 1
_DIGITS = 6

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """One of the two series: its UID (empty for NIfTI), its time, and how many instances it has."""

    series_instance_uid: str
    study_instance_uid: str
    acquired_at: datetime | None
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """What is known of a case before its pixels are looked at; `simulated_patient`: its scanner was our simulator."""

    case_id: str
    baseline: SeriesFacts
    delayed: SeriesFacts
    injection_time: datetime | None
    hours_after_injection: float | None
    software_version: str
    simulated_patient: bool = False


def case_report(
    case: CaseFacts,
    outcome: CaseOutcome,
    *,
    reasons: Sequence[Reason],
    warnings: Sequence[Reason],
    identity: ModelIdentity,
    manifest: ModelManifest,
    course: Outcome | None,
    timings_s: Mapping[str, float],
) -> Json:
    """The report of a converted or refused case.

    Parameters
    ----------
    course
        What the pipeline found; None when the case was refused by its headers alone.

    Returns
    -------
    dict
        ``outputs`` is empty: whoever writes the files fills in their names.
    """
    registration = course.registration if course else None
    return {
        "schema_version": SCHEMA_VERSION,
        "case_id": case.case_id,
        "outcome": outcome.value,
        "reasons": [_reason(reason) for reason in reasons],
        "warnings": [_reason(warning) for warning in warnings],
        "checks": [
            {
                "code": check.code,
                "passed": check.passed,
                "action": check.action,
                "measured": _finite(check.measured),
                "limit": check.limit,
            }
            for check in (course.checks.checks if course else ())
        ],
        "baseline": series_report(case.baseline),
        "delayed": series_report(case.delayed),
        "injection_time": case.injection_time.isoformat() if case.injection_time else None,
        "hours_after_injection": _finite(case.hours_after_injection),
        "registration": _registration(registration) if registration else None,
        "normalisation": {
            "mode": manifest.recipe.mode,
            "reference": course.reference.kind if course and course.reference else None,
            "orbital_fat": _fat(course.fat_baseline) if course and course.fat_baseline else None,
            "orbital_fat_delayed": _fat(course.fat_delayed) if course and course.fat_delayed else None,
        },
        "model": {
            "name": identity.name,
            "version": identity.version,
            "sha256": identity.sha256,
            "provider": identity.provider,
            "simulated_training": manifest.simulated_training,
        },
        "reflux": _reflux(course.reflux if course else None),
        "uncertainty": _uncertainty(course, manifest),
        "timings_s": {**{stage: round(s, 3) for stage, s in timings_s.items()}, "total": _total(timings_s)},
        "outputs": [],
        "simulated_patient": case.simulated_patient,
        "software_version": case.software_version,
        "intended_use": manifest.intended_use,
    }


def bare_report(
    case_id: str,
    outcome: CaseOutcome,
    reasons: Sequence[Reason],
    software_version: str,
    *,
    baseline: SeriesFacts | None = None,
    delayed: SeriesFacts | None = None,
    injection_time: datetime | None = None,
    hours_after_injection: float | None = None,
) -> Json:
    """The report of a case whose images were not looked at: no pair, or a fault of ours.

    Returns
    -------
    dict
        The same keys as of `case_report`; None, or nested None, for what is not known.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "case_id": case_id,
        "outcome": outcome.value,
        "reasons": [_reason(reason) for reason in reasons],
        "warnings": [],
        "checks": [],
        "baseline": series_report(baseline) if baseline else None,
        "delayed": series_report(delayed) if delayed else None,
        "injection_time": injection_time.isoformat() if injection_time else None,
        "hours_after_injection": _finite(hours_after_injection),
        "registration": None,
        "normalisation": {"mode": None, "reference": None, "orbital_fat": None, "orbital_fat_delayed": None},
        "model": {"name": None, "version": None, "sha256": None, "provider": None, "simulated_training": None},
        "reflux": {"index": None, "grade_24h": None, "interval": None, "grade_range": None},
        "uncertainty": None,
        "timings_s": {"total": 0.0},
        "outputs": [],
        "simulated_patient": None,
        "software_version": software_version,
        "intended_use": None,
    }


def _reason(reason: Reason) -> Json:
    measured = _finite(reason.measured) if isinstance(reason.measured, float) else reason.measured
    return {"code": reason.code, "message": reason.message, "measured": measured, "limit": reason.limit}


def series_report(facts: SeriesFacts) -> Json:
    """A series as reports show it."""
    return {
        "series_instance_uid": facts.series_instance_uid,
        "study_instance_uid": facts.study_instance_uid,
        "acquired_at": facts.acquired_at.isoformat() if facts.acquired_at else None,
        "instances": facts.instances,
    }


def _registration(found: Registration) -> Json:
    return {
        "matrix": np.round(found.transform.matrix, 9).tolist(),
        "maps": "points of the baseline frame to the delayed frame, LPS mm, row-major",
        "rotation_deg": round(found.transform.angle_deg, _DIGITS),
        "similarity_before": _finite(found.similarity_before),
        "similarity_after": _finite(found.similarity_after),
        "inverse_consistency_mm": _finite(found.inverse_consistency_mm),
        "two_start_mm": _finite(found.two_start_mm),
        "iterations": found.iterations,
    }


def _fat(fat: OrbitalFat) -> Json:
    return {
        "mean": _finite(fat.mean),
        "median": _finite(fat.median),
        "voxels": fat.voxels,
        "left": _finite(fat.left),
        "right": _finite(fat.right),
        "coefficient_of_variation": _finite(fat.coefficient_of_variation),
    }


def _reflux(found: Reflux | None) -> Json:
    if found is None:
        return {"index": None, "grade_24h": "not gradable", "interval": None, "grade_range": None}
    return {
        "index": _finite(found.index),
        "grade_24h": found.grade_24h,
        "interval": [_finite(end) for end in found.interval] if found.interval else None,
        "grade_range": list(found.grade_range) if found.grade_range else None,
        "ventricle_mmol_per_l": _finite(found.ventricle_mm),
        "subarachnoid_mmol_per_l": _finite(found.subarachnoid_mm),
        "third_ventricle_mmol_per_l": _finite(found.third_ventricle_mm),
        "suprasellar_mmol_per_l": _finite(found.suprasellar_mm),
        "source": "model-derived, from the predicted image",
    }


def grade_text(reflux: Json) -> str:
    """The 24 h grade of a report's ``reflux``, with the grades that the model's own bounds allow where they differ."""
    grade, allowed = reflux["grade_24h"], reflux.get("grade_range")
    if grade is None or not allowed or set(allowed) == {grade}:
        return grade or ""
    return f"{grade} (bounds allow {allowed[0]} to {allowed[1]})"


def _uncertainty(course: Outcome | None, manifest: ModelManifest) -> Json | None:
    """Mean width of the predicted interval over the brain, in fat units; None for a model without one."""
    if course is None or course.restored is None or course.anatomy is None or course.reference is None:
        return None
    width = interval_width(course.restored, course.reference.baseline)
    if width is None:
        return None
    return {
        "quantiles": sorted(manifest.recipe.quantiles),
        "mean_width_fat_units": width,
        "calibration": manifest.calibration.text
        if manifest.calibration
        else "none; nominal quantiles of the model" + (" on simulated patients" if manifest.simulated_training else ""),
    }


def interval_width(restored: RestoredPrediction, fat: float) -> float | None:
    """Mean width of the interval where the model says anything but zero, in units of fat signal."""
    if not (restored.lower and restored.upper):
        return None
    lower, upper = restored.lower[0].array, restored.upper[0].array
    inside = upper != lower
    return round(float((upper[inside] - lower[inside]).mean() / fat), _DIGITS) if inside.any() else 0.0


def _total(timings_s: Mapping[str, float]) -> float:
    return round(sum(timings_s.values()), 3)


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else round(float(value), _DIGITS)
