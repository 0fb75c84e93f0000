"""What became of each grade: real images in rows, predicted ones in columns; and of strong reflux against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.volume import Float64
from training.reader_study.agreement import Grades, wilson
from training.reader_study.scale import LOWEST_STRONG_REFLUX, NOT_GRADABLE

UNGRADED = -1.0
"""Stands for 'not gradable' in tables of ratings; NaN stands for no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``count`` of ``of``, with Wilson's 95 % interval."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """NaN where there is nothing to have a share of."""
        return self.count / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """NaN likewise."""
        return wilson(self.count, self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """P(grade of the predicted image | grade of the real image), of one reader.

    Attributes
    ----------
    labels
        Of rows and columns: the grades, then `NOT_GRADABLE`.
    cells
        Row: on the real image. Column: on the predicted one. Each row's shares sum to 1.
    """

    labels: tuple[str, ...]
    cells: tuple[tuple[Share, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dichotomy:
    """Grades 3 and 4 against 0 to 2; the same reader's grade of the real image counts as the truth.

    Attributes
    ----------
    sensitivity, specificity
        Of pairs that both have a grade.
    sensitivity_all, specificity_all
        With predicted images that were not gradable counted as wrong.
    not_gradable
        Pairs in which the real image was not gradable, and so is no truth.
    """

    sensitivity: Share
    specificity: Share
    accuracy: Share
    sensitivity_all: Share
    specificity_all: Share
    not_gradable: int


def transitions(pairs: Float64, grades: Grades) -> Transitions:
    """`pairs`: ``(patients, 2)``, real and predicted; `UNGRADED` where not gradable, pairs with a NaN do not count."""
    answered = pairs[~np.isnan(pairs).any(axis=1)]
    values = (*(float(g) for g in grades), UNGRADED)
    rows = []
    for real in values:
        of_row = answered[answered[:, 0] == real, 1]
        rows.append(tuple(Share(count=int((of_row == value).sum()), of=len(of_row)) for value in values))
    return Transitions(labels=(*(str(g) for g in grades), NOT_GRADABLE), cells=tuple(rows))


def dichotomy(pairs: Float64) -> Dichotomy:
    """Of the same pairs."""
    answered = pairs[~np.isnan(pairs).any(axis=1)]
    judged = answered[answered[:, 0] != UNGRADED]
    graded = judged[judged[:, 1] != UNGRADED]
    return Dichotomy(
        sensitivity=_right(graded, strong=True),
        specificity=_right(graded, strong=False),
        accuracy=Share(count=_right(graded, strong=True).count + _right(graded, strong=False).count, of=len(graded)),
        sensitivity_all=_right(judged, strong=True),
        specificity_all=_right(judged, strong=False),
        not_gradable=len(answered) - len(judged),
    )


def _right(pairs: Float64, *, strong: bool) -> Share:
    """Among pairs whose real image is (not) of strong reflux: how many predicted ones were graded so."""
    of_kind = pairs[(pairs[:, 0] >= LOWEST_STRONG_REFLUX) == strong, 1]
    right = ((of_kind >= LOWEST_STRONG_REFLUX) == strong) & (of_kind != UNGRADED)
    return Share(count=int(right.sum()), of=len(of_kind))
