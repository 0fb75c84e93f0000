"""The conversion of a pair of volumes, stage by stage; the service and the batch both call it.

Every stage may refuse. The first that does ends the conversion, and what was found so far stays in the
outcome, so that a refusal can show its picture and its figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.cases import CaseOutcome
from service.errors import InputRefused, Reason
from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.quality import QualityReport, align
from service.imaging.quality_pair import check_normalisation, check_registration, check_two_scans
from service.imaging.quality_prediction import check_prediction
from service.imaging.quality_scan import check_anatomy, check_contrast, check_scan, check_volume
from service.imaging.quality_tracer import check_tracer
from service.imaging.recipe import prepare, restore
from service.imaging.recipe_types import Anatomy, OrbitalFat, Registration, RestoredPrediction
from service.imaging.reflux import Reflux, reflux
from service.imaging.registration import register
from service.imaging.volume import Volume
from service.inference.predictor import Predictor

Clock = Callable[[], float]
"""Seconds from any fixed start; only differences are used."""


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
    anatomy, registration, fat_baseline, fat_delayed, restored, reflux
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
    restored: RestoredPrediction | None
    reflux: Reflux | None
    timings_s: Mapping[str, float]

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """Checks that failed without refusing."""
        return self.checks.warnings


@dataclass(slots=True)
class _Course:
    """What has been found so far."""

    clock: Clock
    checks: QualityReport = field(default_factory=lambda: QualityReport(checks=()))
    anatomy: Anatomy | None = None
    registration: Registration | None = None
    fat_baseline: OrbitalFat | None = None
    fat_delayed: OrbitalFat | None = None
    restored: RestoredPrediction | None = None
    reflux: Reflux | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, whatever its end."""
        start = self.clock()
        try:
            yield
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + self.clock() - start

    def accept(self, report: QualityReport) -> None:
        """Keep the verdicts; raises `InputRefused` with the rejections among them."""
        self.checks = self.checks + report
        if report.rejections:
            raise InputRefused(*report.rejections)

    def outcome(self, reasons: tuple[Reason, ...] = ()) -> Outcome:
        return Outcome(
            result=CaseOutcome.REFUSED if reasons else CaseOutcome.PREDICTED,
            reasons=reasons,
            checks=self.checks,
            anatomy=self.anatomy,
            registration=self.registration,
            fat_baseline=self.fat_baseline,
            fat_delayed=self.fat_delayed,
            restored=None if reasons else self.restored,
            reflux=None if reasons else self.reflux,
            timings_s=dict(self.timings_s),
        )


def convert(pair: VolumePair, predictor: Predictor, *, clock: Clock) -> Outcome:
    """Align, normalise, predict and judge one pair.

    Raises
    ------
    ModelError
        The model itself failed; nothing is known against the pair.
    """
    course = _Course(clock=clock)
    try:
        _run(pair, predictor, course)
    except InputRefused as refusal:
        return course.outcome(refusal.reasons)
    return course.outcome()


def _run(pair: VolumePair, predictor: Predictor, course: _Course) -> None:
    baseline, delayed = pair.baseline, pair.delayed
    with course.stage("checks"):
        course.accept(check_volume(baseline, "baseline"))
        course.accept(check_volume(delayed, "delayed"))
        course.accept(check_two_scans(baseline, delayed))
    with course.stage("anatomy"):
        anatomy = course.anatomy = find_anatomy(baseline)
        course.accept(check_anatomy(baseline, anatomy))
    with course.stage("registration"):
        registration = course.registration = register(baseline, delayed, centre=anatomy.brain_centre)
    with course.stage("checks"):
        aligned = align(baseline, delayed, registration.transform, anatomy)
        course.accept(
            check_contrast(aligned.before, anatomy)
            + check_scan(baseline, aligned.before, anatomy, series="baseline")
            + check_scan(delayed, aligned.after, anatomy, transform=registration.transform, series="delayed")
            + check_registration(registration, aligned, anatomy, delayed.grid)
        )
    with course.stage("normalisation"):
        fat_baseline = course.fat_baseline = measure_orbital_fat(baseline, anatomy)
        fat_delayed = course.fat_delayed = measure_orbital_fat(delayed, anatomy, registration.transform)
    fat = {"fat_baseline": fat_baseline.median, "fat_delayed": fat_delayed.median}
    with course.stage("checks"):
        course.accept(check_normalisation(aligned, anatomy, fat_baseline=fat_baseline, fat_delayed=fat_delayed))
        course.accept(check_tracer(aligned, anatomy, **fat))
    with course.stage("inference"):
        recipe = predictor.manifest.recipe
        given = prepare(baseline, delayed, transform=registration.transform, anatomy=anatomy, recipe=recipe, **fat)
        restored = course.restored = restore(predictor(given.tensor), given, baseline)
    with course.stage("checks"):
        course.accept(check_prediction(restored, baseline, anatomy, fat_baseline=fat_baseline.median))
    with course.stage("reflux"):
        course.reflux = _reflux_of(restored, pair, anatomy, fat_baseline.median)


def _reflux_of(restored: RestoredPrediction, pair: VolumePair, anatomy: Anatomy, fat: float) -> Reflux | None:
    """Of the predicted volume; two single slices cannot show a ventricle's fluid against that of its level."""
    if len(restored.predicted) != 1:
        return None
    bounds = (restored.lower[0], restored.upper[0]) if restored.lower and restored.upper else None
    return reflux(
        pair.baseline, restored.predicted[0], anatomy, fat_baseline=fat, fat_later=fat, increase_bounds=bounds
    )
