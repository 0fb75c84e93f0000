"""What the page for print says of a predicted case: the same as report.json, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.case_preview import Shown
from service.check_words import names_of
from service.errors import Reason
from service.imaging.quality import QualityReport
from service.imaging.reflux import Reflux
from service.inference.manifest import ModelManifest
from service.page.contents import CheckLine, Facts, PageContents, WarningLine
from service.page.layout import render_page
from service.pictures.preview import INCREASE_FULL_SCALE, PreviewSource, section_rows
from service.pipeline import Outcome
from service.report import CaseFacts, SeriesFacts, grade_text, interval_width

TITLE = "PREDICTED 24 h IMAGE – NOT ACQUIRED"
_NOTHING = "–"
_NOT_STATED = "not stated"
_MOMENT = "%Y-%m-%d %H:%M"
_SHA256_DIGITS = 16

_FIRST = (
    *("NOT_THE_SAME_HEAD", "REGISTRATION_INCONSISTENT", "REGISTRATION_AMBIGUOUS", "ROTATION_TOO_LARGE"),
    *("NO_TRACER", "TRACER_IN_NOISE", "TRACER_EXCESSIVE", "VESSELS_ENHANCED", "ORDER_SWAPPED"),
    *("FAT_DRIFT", "FAT_VARIABLE", "FAT_ASYMMETRIC", "WHITE_VARIABLE", "FLUID_BRIGHT", "LOW_SNR"),
    *("INPUT_UNUSUAL", "PREDICTION_TOO_BRIGHT", "PREDICTION_OUTSIDE_HEAD", "STRUCTURE_DIFFERS", "SHARPNESS_DIFFERS"),
    *("DELAYED_COVERAGE", "BRAIN_VOLUME", "VENTRICLES_NOT_FOUND", "AIR_NOT_DARK", "SAME_PIXELS"),
)
"""Checks that a reader looks for, after those that failed: the same head, tracer, signal scale, what the model made."""
_RANK: Mapping[str, int] = {code: number for number, code in enumerate(_FIRST)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What the page says besides the case's facts.

    Attributes
    ----------
    patient
        Identity as the results have it, the name first; empty for input that states none.
    made_at
        When the case was converted; the same on every retry.
    replaces
        How many earlier results of the case were delivered.
    font
        For letters that the page's own font lacks.
    """

    patient: Facts
    warnings: Sequence[Reason]
    made_at: datetime
    replaces: int = 0
    font: bytes | None = None


def with_page(shown: Shown, case: CaseFacts, course: Outcome, manifest: ModelManifest, facts: PageFacts) -> Shown:
    """With the page for print, of what is shown of a prediction."""
    if shown.source is None or not shown.source.predicted:
        raise ValueError("there is no prediction to draw a page of")
    contents = page_contents(case, course, shown.source, manifest, facts)
    return replace(shown, page=render_page(contents, further_font=facts.font))


def page_contents(
    case: CaseFacts, course: Outcome, source: PreviewSource, manifest: ModelManifest, facts: PageFacts
) -> PageContents:
    """Of a prediction."""
    return PageContents(
        title=TITLE,
        cautions=_cautions(case, manifest, facts.replaces),
        patient=facts.patient or (("Patient", "not stated: the input is not DICOM"),),
        times=_times(case, facts.made_at),
        rows=section_rows(source),
        increase_scale=f"{INCREASE_FULL_SCALE:g} x fat",
        warnings=tuple(WarningLine(code=reason.code, text=_sentence(reason)) for reason in facts.warnings),
        checks=check_lines(course.checks),
        findings=(
            ("Reflux at 24 h, model-derived", _reflux(course.reflux)),
            ("Interval of the prediction", _interval(course, manifest)),
            ("Model", _model(manifest, course)),
        ),
        limits=_limits(case, manifest),
        made_at=facts.made_at,
    )


def check_lines(report: QualityReport) -> tuple[CheckLine, ...]:
    """Every check: first those that failed, then those a reader looks for, then the others in their order."""
    made = report.checks
    named = zip(made, names_of([check.code for check in made]), strict=True)
    ordered = sorted(named, key=lambda pair: (pair[0].passed, _RANK.get(pair[0].code, len(_RANK))))
    return tuple(
        CheckLine(
            name=name,
            measured=_figure(check.measured),
            limit=check.limit,
            verdict="pass" if check.passed else "warn" if check.action == "WARN" else "reject",
        )
        for check, name in ordered
    )


def _cautions(case: CaseFacts, manifest: ModelManifest, replaces: int) -> tuple[str, ...]:
    cautions = ["Research use, not for diagnosis."]
    if manifest.simulated_training:
        cautions.append("SIMULATED TRAINING: the model has seen simulated tracer only.")
    if case.simulated_patient:
        cautions.append("SIMULATED PATIENT.")
    if replaces:
        cautions.append(f"Rev {replaces + 1}, REPLACES an earlier result of csf24 for this pair; do not use that one.")
    return tuple(cautions)


def _times(case: CaseFacts, made_at: datetime) -> Facts:
    hours = case.hours_after_injection
    after = "" if hours is None else f"{hours:.2f} h after injection"
    delayed = _acquired(case.delayed)
    return (
        ("Injection", _moment(case.injection_time)),
        ("Baseline", _acquired(case.baseline)),
        ("Delayed scan", f"{delayed}, {after}" if after else delayed),
        ("Case", f"{case.case_id}, converted {_moment(made_at)}"),
    )


def _acquired(series: SeriesFacts) -> str:
    return _moment(series.acquired_at) if series.acquired_at else f"time {_NOT_STATED}"


def _moment(at: datetime | None) -> str:
    return _NOT_STATED if at is None else f"{at.strftime(_MOMENT)} {at.strftime('%z')}".strip()


def _figure(value: float | str | None) -> str:
    """Four significant digits, as on the status page."""
    if value is None:
        return _NOTHING
    return value if isinstance(value, str) else f"{value:.4g}"


def _sentence(reason: Reason) -> str:
    figures = "" if reason.measured is None else f" Measured {_figure(reason.measured)}, limit {_figure(reason.limit)}."
    return f"{reason.message}{figures}"


def _reflux(found: Reflux | None) -> str:
    caution = "Derived by software from the PREDICTED image; no rater has validated the cut-offs."
    if found is None or found.index is None:
        return f"Not gradable from this prediction. {caution}"
    grade = grade_text({"grade_24h": found.grade_24h, "grade_range": found.grade_range})
    interval = "" if found.interval is None else f" (interval {found.interval[0]:.2f} to {found.interval[1]:.2f})"
    return (
        f"Index {found.index:.2f}{interval}, grade {grade}. Tracer in the lateral ventricles over that in "
        f"the subarachnoid space. {caution}"
    )


def _interval(course: Outcome, manifest: ModelManifest) -> str:
    width = interval_width(course.restored, course.reference.baseline) if course.restored and course.reference else None
    if width is None:
        return "This model states none."
    calibrated = manifest.calibration.text if manifest.calibration else "not calibrated: the model's own quantiles"
    return f"Mean width {width:.3g} x fat; {calibrated}."


def _model(manifest: ModelManifest, course: Outcome) -> str:
    reference = "white matter in place of orbital fat" if _substituted(course) else "orbital fat"
    return (
        f"{manifest.name} {manifest.version}, SHA-256 {manifest.sha256[:_SHA256_DIGITS]}…, signal referred to "
        f"{reference} ({manifest.recipe.mode})."
    )


def _substituted(course: Outcome) -> bool:
    return course.reference is not None and course.reference.kind == "white_matter"


def _limits(case: CaseFacts, manifest: ModelManifest) -> str:
    return (
        "Limits of use: the 24 h image and its increase were computed from the two acquired scans; nothing here was "
        "acquired at 24 h. Lesions, motion of 3 mm and less, metal, operated heads and children are not detected as "
        f"such. Do not treat or diagnose by this page. Intended use of the model: {manifest.intended_use} "
        f"csf24 {case.software_version}."
    )
