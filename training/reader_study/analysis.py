"""Ratings and key -> every figure of the study.

Three kinds of agreement are kept apart, because they answer different questions: a reader with themselves on real and
predicted images, readers among each other on images of one kind, and a reader with themselves on the same real
images read twice, which is the ceiling of the first. Images that were not gradable have no part in the coefficients
and are counted beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from service.imaging.volume import Float64
from training.reader_study import agreement
from training.reader_study.agreement import Coefficient, Grades, Icc
from training.reader_study.bland_altman import LimitsOfAgreement, limits_of_agreement
from training.reader_study.bootstrap import Estimate, estimates
from training.reader_study.key import REAL, REAL_AGAIN, Key
from training.reader_study.ratings import Rating
from training.reader_study.scale import QUALITY
from training.reader_study.transitions import UNGRADED, Dichotomy, Share, Transitions, dichotomy, transitions

PAIRED: dict[str, Coefficient] = {
    "accuracy": agreement.accuracy,
    "kappa_unweighted": lambda r, g: agreement.cohen(r, g, "unweighted"),
    "kappa_linear": lambda r, g: agreement.cohen(r, g, "linear"),
    "kappa_quadratic": lambda r, g: agreement.cohen(r, g, "quadratic"),
}
"""Coefficients of two raters."""

ANY_NUMBER: dict[str, Coefficient] = {
    "kappa_fleiss": agreement.fleiss,
    "gwet_ac2": agreement.gwet_ac2,
    "krippendorff_alpha": agreement.krippendorff_alpha,
}
"""Coefficients of two raters or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One comparison.

    Attributes
    ----------
    what
        In words.
    kind
        ``real and predicted``, ``readers``, or ``read twice``.
    patients
        With a grade from everybody compared.
    same_grade
        By how many of these everybody gave the same grade; None for a mean of readers.
    kappa_half_width_large_sample
        1.96 standard errors of the unweighted kappa, beside the bootstrap's; NaN unless two are compared.
    """

    what: str
    kind: str
    patients: int
    same_grade: Share | None
    figures: dict[str, Estimate]
    icc: Icc | None
    kappa_half_width_large_sample: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reader's real and predicted images, of one model."""

    reader: int
    version: str
    transitions: Transitions
    dichotomy: Dichotomy
    percent: LimitsOfAgreement
    quality_difference: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One reader's answers on images of one version; ``recognised`` of those who ventured a guess."""

    reader: int
    version: str
    shown: int
    graded: int
    not_gradable: int
    missing: int
    grades: dict[str, int]
    quality: dict[int, int]
    recognised: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFigures:
    """All that a study says."""

    patients: int
    draws: int
    seed: int
    tallies: tuple[Tally, ...]
    readings: tuple[Reading, ...]
    agreements: tuple[Agreement, ...]


def analyse(key: Key, ratings: Sequence[Rating], *, draws: int, seed: int, tell: Callable[[str], None]) -> StudyFigures:
    """Every figure.

    Parameters
    ----------
    draws
        Of the bootstrap.
    tell
        Called with each comparison's name before it is computed.
    """
    study = _Study(key, ratings)
    found = []
    for what, kind, table, columns in study.comparisons():
        tell(what)
        found.append(_agreement(what, kind, table, columns, grades=key.grades, draws=draws, seed=seed))
    return StudyFigures(
        patients=len(key.patients),
        draws=draws,
        seed=seed,
        tallies=tuple(study.tallies()),
        readings=tuple(study.readings(draws, seed)),
        agreements=tuple(found),
    )


class _Study:
    """Ratings by reader and version, as columns over the patients."""

    def __init__(self, key: Key, ratings: Sequence[Rating]) -> None:
        self.key = key
        self.readers = range(1, key.readers + 1)
        self._by_place = {(r.shown.reader, r.shown.version, r.shown.patient): r for r in ratings}

    def column(self, reader: int, version: str, value: Callable[[Rating], float | None]) -> Float64:
        """NaN where there is no answer or no value."""
        found = [self._by_place.get((reader, version, patient)) for patient in self.key.patients]
        values = [None if rating is None else value(rating) for rating in found]
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

    def grades(self, reader: int, version: str) -> Float64:
        """`UNGRADED` where not gradable."""
        return self.column(reader, version, lambda r: UNGRADED if r.grade is None else r.grade)

    def pairs(self, reader: int, first: str, second: str) -> Float64:
        """``(patients, 2)`` grades."""
        return np.stack([self.grades(reader, first), self.grades(reader, second)], axis=1)

    def comparisons(self) -> Iterator[tuple[str, str, Float64, int]]:
        """What, kind, ratings with NaN where there is no grade, and how many columns belong together."""
        for version in self.key.predictions:
            pairs = [_graded(self.pairs(reader, REAL, version)) for reader in self.readers]
            for reader, pair in zip(self.readers, pairs, strict=True):
                yield f"reader {reader}: real and {version}", "real and predicted", pair, 2
            if len(pairs) > 1:
                yield f"mean of the readers: real and {version}", "real and predicted", np.hstack(pairs), 2
        if REAL_AGAIN in self.key.versions:
            for reader in self.readers:
                pair = _graded(self.pairs(reader, REAL, REAL_AGAIN))
                yield f"reader {reader}: real images read twice", "read twice", pair, 2
        for version in (REAL, *self.key.predictions):
            columns = {reader: _graded(self.grades(reader, version)) for reader in self.readers}
            for one, other in combinations(self.readers, 2):
                table = np.stack([columns[one], columns[other]], axis=1)
                yield f"readers {one} and {other}: {version} images", "readers", table, 2
            if len(columns) > 2:
                table = np.stack(list(columns.values()), axis=1)
                yield f"all readers: {version} images", "readers", table, len(columns)

    def readings(self, draws: int, seed: int) -> Iterator[Reading]:
        """One for each reader and model."""
        for version in self.key.predictions:
            for reader in self.readers:
                pairs = self.pairs(reader, REAL, version)
                quality = self._both(reader, version, lambda r: r.quality)
                yield Reading(
                    reader=reader,
                    version=version,
                    transitions=transitions(pairs, self.key.grades),
                    dichotomy=dichotomy(pairs),
                    percent=limits_of_agreement(self._both(reader, version, lambda r: r.percent)),
                    quality_difference=estimates(quality, {"": _mean_difference}, draws=draws, seed=seed)[""],
                )

    def _both(self, reader: int, version: str, value: Callable[[Rating], float | None]) -> Float64:
        return np.stack([self.column(reader, v, value) for v in (REAL, version)], axis=1)

    def tallies(self) -> Iterator[Tally]:
        """One for each reader and version."""
        for reader in self.readers:
            for version in self.key.versions:
                grades = self.grades(reader, version)
                quality = self.column(reader, version, lambda r: r.quality)
                kind = "predicted" if version in self.key.predictions else "real"
                right = self.column(
                    reader,
                    version,
                    lambda r, kind=kind: None if r.looks is None else r.looks == kind,  # type: ignore[misc]
                )
                guessed = right[~np.isnan(right)]
                yield Tally(
                    reader=reader,
                    version=version,
                    shown=len(grades),
                    graded=int((grades >= 0).sum()),
                    not_gradable=int((grades == UNGRADED).sum()),
                    missing=int(np.isnan(grades).sum()),
                    grades={str(grade): int((grades == grade).sum()) for grade in self.key.grades},
                    quality={score: int((quality == score).sum()) for score in QUALITY},
                    recognised=Share(count=int(guessed.sum()), of=len(guessed)),
                )


def _graded(grades: Float64) -> Float64:
    return np.where(grades == UNGRADED, np.nan, grades)


def _mean_difference(pairs: Float64) -> float:
    both = agreement.complete(pairs)
    return float((both[:, 1] - both[:, 0]).mean()) if len(both) else float("nan")


def _agreement(
    what: str, kind: str, table: Float64, columns: int, *, grades: Grades, draws: int, seed: int
) -> Agreement:
    coefficients = {**(PAIRED if columns == 2 else {}), **ANY_NUMBER}
    figures = {name: _mean_of_groups(coefficient, grades, columns) for name, coefficient in coefficients.items()}
    single = table.shape[1] == columns
    rated = agreement.complete(table)
    half_width = 1.96 * agreement.cohen_standard_error(table, grades) if single and columns == 2 else float("nan")
    return Agreement(
        what=what,
        kind=kind,
        patients=len(rated),
        same_grade=Share(count=int((np.ptp(rated, axis=1) == 0).sum()), of=len(rated)) if single else None,
        figures=estimates(table, figures, draws=draws, seed=seed),
        icc=agreement.icc(table) if single else None,
        kappa_half_width_large_sample=half_width,
    )


def _mean_of_groups(coefficient: Coefficient, grades: Grades, columns: int) -> Callable[[Float64], float]:
    """The mean over the table's groups of `columns`; undefined where one of them is."""

    def figure(table: Float64) -> float:
        groups = [table[:, start : start + columns] for start in range(0, table.shape[1], columns)]
        return float(np.mean([coefficient(group, grades) for group in groups]))

    return figure
