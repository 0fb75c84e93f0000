"""Coefficients of agreement on an ordinal scale, each of one table of ratings.

Ratings are ``(subjects, raters)`` float, NaN where there is none. Distances between grades are those of their values:
from 0 to 3 it is three times as far as from 3 to 4. What cannot be computed (no subject left, or every rating the
same, so that chance alone would agree always) is NaN, never 0 or 1.

Cohen's kappa, Fleiss' kappa: statsmodels. Krippendorff's alpha: krippendorff. Intraclass correlations: pingouin.
Gwet's AC2 is computed here: irrCAC, its only published Python implementation, is bound to one old SciPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import krippendorff
import numpy as np
import pandas
import pingouin
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

from service.imaging.volume import Float64

Grades = tuple[int, ...]
Weighting = Literal["unweighted", "linear", "quadratic"]
Coefficient = Callable[[Float64, Grades], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Icc:
    """Intraclass correlation of single ratings with its 95 % interval by the F distribution (McGraw & Wong 1996).

    Attributes
    ----------
    absolute
        ICC(2,1): two-way random, absolute agreement.
    consistency
        ICC(3,1): two-way mixed, consistency; a reader who is always one grade higher does not lower it.
    """

    absolute: float
    absolute_interval: tuple[float, float]
    consistency: float
    consistency_interval: tuple[float, float]


def complete(ratings: Float64) -> Float64:
    """The subjects that everybody rated."""
    return ratings[~np.isnan(ratings).any(axis=1)]


def accuracy(ratings: Float64, _grades: Grades = ()) -> float:
    """Share of subjects that two raters gave the same grade."""
    both = complete(ratings)
    return float((both[:, 0] == both[:, 1]).mean()) if len(both) else float("nan")


def cross_table(ratings: Float64, grades: Grades) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Counts: rows the first rater's grade, columns the second's, both in the order of `grades`."""
    both = complete(ratings)
    return np.array([[((both[:, 0] == a) & (both[:, 1] == b)).sum() for b in grades] for a in grades], dtype=np.int64)


def cohen(ratings: Float64, grades: Grades, weighting: Weighting) -> float:
    """Cohen's kappa of two raters (1960; weighted 1968)."""
    table = cross_table(ratings, grades)
    if not table.sum() or _constant(ratings):
        return float("nan")
    scores = {"weights": np.array(grades, dtype=np.float64), "wt": weighting}
    with _quiet():
        return float(cohens_kappa(table, return_results=False, **({} if weighting == "unweighted" else scores)))


def cohen_standard_error(ratings: Float64, grades: Grades) -> float:
    """Large-sample standard error of the unweighted kappa (Fleiss, Cohen & Everitt 1969)."""
    table = cross_table(ratings, grades)
    if not table.sum() or _constant(ratings):
        return float("nan")
    used = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1))
    with _quiet():
        return float(cohens_kappa(table[np.ix_(used, used)]).std_kappa)


def fleiss(ratings: Float64, grades: Grades) -> float:
    """Fleiss' kappa (1971), nominal, of the subjects that everybody rated."""
    all_rated = complete(ratings)
    if not len(all_rated) or _constant(all_rated):
        return float("nan")
    with _quiet():
        return float(fleiss_kappa(_counts(all_rated, grades), method="fleiss"))


def gwet_ac2(ratings: Float64, grades: Grades) -> float:
    """Gwet's AC2 with quadratic weights (Gwet 2014, Handbook of Inter-Rater Reliability, 4th ed., chapters 2, 3).

    Agreement by chance is ``T / (q (q - 1)) * sum pi_k (1 - pi_k)``, T the sum of all weights, q the number of
    grades on offer, used or not. Subjects with one rating count for the prevalences pi only.
    """
    counts = _counts(ratings, grades)
    raters = counts.sum(axis=1)
    counts, raters = counts[raters > 0], raters[raters > 0]
    several = raters > 1
    if not several.any():
        return float("nan")
    values = np.array(grades, dtype=np.float64)
    weights = 1 - ((values[:, None] - values) / (values.max() - values.min())) ** 2
    agreeing = (counts * (counts @ weights - 1)).sum(axis=1)[several]
    observed = float((agreeing / (raters * (raters - 1))[several]).mean())
    prevalence = (counts / raters[:, None]).mean(axis=0)
    q = len(grades)
    expected = float(weights.sum() / (q * (q - 1)) * (prevalence * (1 - prevalence)).sum())
    return (observed - expected) / (1 - expected)


def krippendorff_alpha(ratings: Float64, grades: Grades) -> float:
    """Krippendorff's alpha, ordinal; subjects with fewer than two ratings do not count."""
    paired = ratings[(~np.isnan(ratings)).sum(axis=1) > 1]
    if not len(paired) or _constant(paired):
        return float("nan")
    return float(
        krippendorff.alpha(
            reliability_data=paired.T, value_domain=[float(g) for g in grades], level_of_measurement="ordinal"
        )
    )


def icc(ratings: Float64) -> Icc:
    """ICC(2,1) and ICC(3,1) of the subjects that everybody rated, grades taken as numbers (Shrout & Fleiss 1979)."""
    rated = complete(ratings)
    n, raters = rated.shape
    if n < 3 or _constant(rated):
        nothing = (float("nan"), float("nan"))
        return Icc(
            absolute=float("nan"), absolute_interval=nothing, consistency=float("nan"), consistency_interval=nothing
        )
    if np.ptp(rated, axis=1).max() == 0:  # no difference at all: F is infinite
        return Icc(absolute=1.0, absolute_interval=(1.0, 1.0), consistency=1.0, consistency_interval=(1.0, 1.0))
    table = pandas.DataFrame(
        {"subject": np.repeat(np.arange(n), raters), "rater": np.tile(np.arange(raters), n), "grade": rated.ravel()}
    )
    with _quiet():
        found = pingouin.intraclass_corr(table, targets="subject", raters="rater", ratings="grade").set_index("Type")
    absolute, consistency = found.loc["ICC(A,1)"], found.loc["ICC(C,1)"]
    return Icc(
        absolute=float(absolute["ICC"]),
        absolute_interval=_pair(absolute["CI95"]),
        consistency=float(consistency["ICC"]),
        consistency_interval=_pair(consistency["CI95"]),
    )


def wilson(successes: int, of: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); NaN without a trial."""
    if not of:
        return float("nan"), float("nan")
    low, high = proportion_confint(successes, of, alpha=0.05, method="wilson")
    return float(low), float(high)


def _pair(values: Float64) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


def _counts(ratings: Float64, grades: Grades) -> Float64:
    """``(subjects, grades)``: how many raters chose each."""
    return np.stack([(ratings == grade).sum(axis=1) for grade in grades], axis=1).astype(np.float64)


def _constant(ratings: Float64) -> bool:
    given = complete(ratings) if ratings.shape[1] == 2 else ratings[~np.isnan(ratings)]
    return len(np.unique(given)) < 2


@contextmanager
def _quiet() -> Iterator[None]:
    """Divisions that end as NaN say so by their result."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
