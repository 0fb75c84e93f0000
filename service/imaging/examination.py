"""All that is found out about a pair before a model sees it, each finding held against its checks.

The conversion and the preparation of training data both go this way: what the service refuses, training does not learn
from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from service.errors import InputRefused, Reason
from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat, measure_white_matter
from service.imaging.quality import AlignedPair, QualityReport, align
from service.imaging.quality_pair import check_normalisation, check_registration, check_two_scans, check_white_matter
from service.imaging.quality_scan import check_anatomy, check_contrast, check_scan, check_volume
from service.imaging.quality_tracer import check_tracer
from service.imaging.recipe_types import AlignedScan, Anatomy, OrbitalFat, Registration, SignalReference
from service.imaging.registration import register
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume

Clock = Callable[[], float]
"""Seconds from any fixed start; only differences are used."""
Fallback = Literal["none", "white_matter"]
_NO_USABLE_FAT = frozenset({"FAT_NOT_FOUND", "FAT_SMALL", "FAT_VARIABLE", "FAT_ASYMMETRIC", "FAT_NOT_BRIGHT"})
"""With these another reference may do; not where fat says that the two scans were acquired otherwise."""
_BY_TRACER = frozenset({"FAT_DRIFT", "NOT_THE_SAME_HEAD", "STRUCTURE_DIFFERS"})
"""They compare tissue and its fine structure, which tracer itself has brightened some hours later."""


@dataclass(slots=True, kw_only=True)
class Examination:
    """What has been found so far; a refusal leaves it as far as it came.

    Attributes
    ----------
    checks
        Every verdict, warnings included.
    timings_s
        Seconds per stage, in order.
    fallback
        What may stand in for orbital fat that cannot be used.
    lenient
        Rejections are kept among the checks and do not end the examination: for looking at what is refused.
    """

    clock: Clock
    fallback: Fallback = "none"
    lenient: bool = False
    checks: QualityReport = field(default_factory=lambda: QualityReport(checks=()))
    anatomy: Anatomy | None = None
    registration: Registration | None = None
    fat_baseline: OrbitalFat | None = None
    fat_delayed: OrbitalFat | None = None
    reference: SignalReference | None = None
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
        """Keep the verdicts; raises `InputRefused` with the rejections among them, unless `lenient`."""
        self.checks = self.checks + report
        if report.rejections and not self.lenient:
            raise InputRefused(*report.rejections)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExaminedPair:
    """A pair that passed: where its parts lie, and both scans ready for `prepare`."""

    anatomy: Anatomy
    baseline: AlignedScan
    delayed: AlignedScan

    @property
    def series(self) -> Mapping[str, AlignedScan]:
        """By the names that recipes use."""
        return {"baseline": self.baseline, "delayed": self.delayed}


def examine(baseline: Volume, delayed: Volume, course: Examination) -> ExaminedPair:
    """Outline, register, normalise and check a pair; `course` keeps what is found.

    Raises
    ------
    InputRefused
        A check refused it.
    """
    with course.stage("checks"):
        course.accept(check_volume(baseline, "baseline"))
        course.accept(check_volume(delayed, "delayed"))
        course.accept(check_two_scans(baseline, delayed))
    anatomy = _outlined(baseline, course)
    with course.stage("registration"):
        registration = course.registration = register(baseline, delayed, centre=anatomy.brain_centre)
    with course.stage("checks"):
        aligned = align(baseline, delayed, registration.transform, anatomy)
        course.accept(
            check_contrast(aligned.before, anatomy)
            + check_scan(baseline, aligned.before, anatomy, series="baseline")
            + check_scan(delayed, aligned.after, anatomy, transform=registration.transform, series="delayed")
            + check_registration(registration, aligned, anatomy, baseline=baseline, delayed=delayed)
        )
    reference = course.reference = _reference(baseline, delayed, aligned, course)
    with course.stage("checks"):
        course.accept(check_tracer(aligned, anatomy, fat_baseline=reference.baseline, fat_delayed=reference.delayed))
    return ExaminedPair(
        anatomy=anatomy,
        baseline=AlignedScan(volume=baseline, transform=RigidTransform.identity(), fat=reference.baseline),
        delayed=AlignedScan(volume=delayed, transform=registration.transform, fat=reference.delayed),
    )


def _reference(baseline: Volume, delayed: Volume, aligned: AlignedPair, course: Examination) -> SignalReference:
    """By orbital fat; by white matter where that fails for want of usable fat and the site allows it."""
    assert course.anatomy is not None
    try:
        return _by_fat(baseline, delayed, aligned, course)
    except InputRefused as refusal:
        if not _may_be_replaced(refusal.reasons, course):
            raise
        because = refusal.reasons
    course.fat_baseline = course.fat_delayed = None
    with course.stage("normalisation"):
        reference, variation = measure_white_matter(aligned, course.anatomy)
    with course.stage("checks"):
        course.accept(check_white_matter(variation, because))
    return reference


def _by_fat(baseline: Volume, delayed: Volume, aligned: AlignedPair, course: Examination) -> SignalReference:
    assert course.anatomy is not None
    assert course.registration is not None
    with course.stage("normalisation"):
        before = course.fat_baseline = measure_orbital_fat(baseline, course.anatomy)
        after = course.fat_delayed = measure_orbital_fat(delayed, course.anatomy, course.registration.transform)
    with course.stage("checks"):
        found = check_normalisation(aligned, course.anatomy, fat_baseline=before, fat_delayed=after)
        if found.rejections and _may_be_replaced(found.rejections, course):
            raise InputRefused(*found.rejections)  # not among the checks: another reference may do
        course.accept(found)
    return SignalReference(kind="orbital_fat", baseline=before.median, delayed=after.median)


def _may_be_replaced(reasons: Sequence[Reason], course: Examination) -> bool:
    return course.fallback != "none" and {reason.code for reason in reasons} <= _NO_USABLE_FAT


def examine_baseline(baseline: Volume, course: Examination) -> tuple[Anatomy, AlignedScan]:
    """Outline, normalise and check a baseline for which there is no delayed scan.

    Raises
    ------
    InputRefused
        A check refused it.
    """
    course.accept(check_volume(baseline, "baseline"))
    anatomy = _outlined(baseline, course)
    shown = resample(baseline, anatomy.grid, antialias=True).array
    course.accept(check_contrast(shown, anatomy) + check_scan(baseline, shown, anatomy, series="baseline"))
    fat = course.fat_baseline = measure_orbital_fat(baseline, anatomy)
    return anatomy, AlignedScan(volume=baseline, transform=RigidTransform.identity(), fat=fat.median)


def _outlined(baseline: Volume, course: Examination) -> Anatomy:
    with course.stage("anatomy"):
        anatomy = course.anatomy = find_anatomy(baseline)
        course.accept(check_anatomy(baseline, anatomy))
    return anatomy


def examine_later(baseline: AlignedScan, later: Volume, anatomy: Anatomy, course: Examination) -> AlignedScan:
    """Register, normalise and check a further scan of a patient whose pair passed: the answer that training wants.

    The checks are those of the pair, but whether tracer is in the basal fluid is not asked, and three that compare
    tissue, which tracer has brightened by then, only warn: on pixels nothing tells whether it is the same patient.

    Raises
    ------
    InputRefused
        A check refused it.
    """
    course.accept(check_volume(later, "later"))
    course.accept(check_two_scans(baseline.volume, later))
    registration = register(baseline.volume, later, centre=anatomy.brain_centre)
    aligned = align(baseline.volume, later, registration.transform, anatomy)
    fat_baseline = measure_orbital_fat(baseline.volume, anatomy)
    fat = measure_orbital_fat(later, anatomy, registration.transform)
    found = (
        check_scan(later, aligned.after, anatomy, transform=registration.transform, series="later")
        + check_registration(registration, aligned, anatomy, baseline=baseline.volume, delayed=later)
        + check_normalisation(aligned, anatomy, fat_baseline=fat_baseline, fat_delayed=fat)
    )
    course.accept(
        QualityReport(checks=tuple(replace(c, action="WARN") if c.code in _BY_TRACER else c for c in found.checks))
    )
    return AlignedScan(volume=later, transform=registration.transform, fat=fat.median)
