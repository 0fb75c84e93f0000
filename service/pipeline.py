"""The conversion of a pair of volumes, stage by stage; the service and the batch both call it.

Every stage may refuse. The first that does ends the conversion, and what was found so far stays in the
outcome, so that a refusal can show its picture and its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.cases import CaseOutcome
from service.errors import InputRefused, Reason
from service.imaging.examination import Clock, Examination, Fallback, examine
from service.imaging.quality import QualityReport
from service.imaging.recipe_types import Anatomy, OrbitalFat, Registration, RestoredPrediction, SignalReference
from service.imaging.reflux import Reflux, reflux
from service.imaging.volume import Volume
from service.inference.answering import predict
from service.inference.predictor import Predictor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VolumePair:
    """What is converted: the unenhanced baseline (fixed) and the 1-2 h scan (moving), real values."""

    baseline: Volume
    delayed: Volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of a conversion.

    Attributes
    ----------
    result
        PREDICTED, or REFUSED with at least one reason.
    reasons
        The rejections; empty for a prediction.
    checks
        Every verdict up to the end, warnings included.
    anatomy, registration, fat_baseline, fat_delayed, reference, restored, reflux
        As far as the conversion came; None after that. ``restored`` is None after any rejection.
    timings_s
        Seconds per stage, in order.
    """

    result: CaseOutcome
    reasons: tuple[Reason, ...]
    checks: QualityReport
    anatomy: Anatomy | None
    registration: Registration | None
    fat_baseline: OrbitalFat | None
    fat_delayed: OrbitalFat | None
    reference: SignalReference | None
    restored: RestoredPrediction | None
    reflux: Reflux | None
    timings_s: Mapping[str, float]

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """Checks that failed without refusing."""
        return self.checks.warnings


@dataclass(slots=True, kw_only=True)
class _Course(Examination):
    """The examination, and what the model made of it."""

    restored: RestoredPrediction | None = None
    reflux: Reflux | None = None

    def outcome(self, reasons: tuple[Reason, ...] = ()) -> Outcome:
        return Outcome(
            result=CaseOutcome.REFUSED if reasons else CaseOutcome.PREDICTED,
            reasons=reasons,
            checks=self.checks,
            anatomy=self.anatomy,
            registration=self.registration,
            fat_baseline=self.fat_baseline,
            fat_delayed=self.fat_delayed,
            reference=self.reference,
            restored=None if reasons else self.restored,
            reflux=None if reasons else self.reflux,
            timings_s=dict(self.timings_s),
        )


def convert(pair: VolumePair, predictor: Predictor, *, clock: Clock, fallback: Fallback = "none") -> Outcome:
    """Align, normalise, predict and judge one pair.

    Parameters
    ----------
    fallback
        What may stand in for orbital fat that cannot be used; the result is then marked.

    Raises
    ------
    ModelError
        The model itself failed; nothing is known against the pair.
    """
    course = _Course(clock=clock, fallback=fallback)
    try:
        _run(pair, predictor, course)
    except InputRefused as refusal:
        return course.outcome(refusal.reasons)
    return course.outcome()


def _run(pair: VolumePair, predictor: Predictor, course: _Course) -> None:
    found = examine(pair.baseline, pair.delayed, course)
    restored = course.restored = predict(found, predictor, course)
    with course.stage("reflux"):
        course.reflux = _reflux_of(restored, pair, found.anatomy, found.baseline.fat)


def _reflux_of(restored: RestoredPrediction, pair: VolumePair, anatomy: Anatomy, fat: float) -> Reflux | None:
    """Of the predicted volume; two single slices cannot show a ventricle's fluid against that of its level."""
    if len(restored.predicted) != 1:
        return None
    bounds = (restored.lower[0], restored.upper[0]) if restored.lower and restored.upper else None
    return reflux(
        pair.baseline, restored.predicted[0], anatomy, fat_baseline=fat, fat_later=fat, increase_bounds=bounds
    )
