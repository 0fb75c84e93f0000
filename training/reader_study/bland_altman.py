"""Limits of agreement of two measurements of the same patients (Bland & Altman, Lancet 1986; 1999 for intervals)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from service.imaging.volume import Float64

_FEWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsOfAgreement:
    """Of the difference second - first, in the measurement's unit; NaN with fewer than three pairs.

    Attributes
    ----------
    bias, bias_interval
        Mean difference, and its 95 % interval by Student's t.
    lower, upper
        Bias -+ 1.96 standard deviations of the differences: where 95 % of them are expected.
    lower_interval, upper_interval
        95 % intervals of these, with the standard error ``s sqrt(1/n + 1.96^2 / (2 (n - 1)))``.
    """

    pairs: int
    bias: float
    bias_interval: tuple[float, float]
    standard_deviation: float
    lower: float
    lower_interval: tuple[float, float]
    upper: float
    upper_interval: tuple[float, float]


def limits_of_agreement(pairs: Float64) -> LimitsOfAgreement:
    """`pairs`: ``(patients, 2)``; rows with a NaN do not count."""
    known = pairs[~np.isnan(pairs).any(axis=1)]
    n, nothing = len(known), float("nan")
    if n < _FEWEST:
        none = (nothing, nothing)
        return LimitsOfAgreement(
            pairs=n, bias=nothing, bias_interval=none, standard_deviation=nothing,
            lower=nothing, lower_interval=none, upper=nothing, upper_interval=none,
        )  # fmt: skip
    difference = known[:, 1] - known[:, 0]
    bias, deviation = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    around_bias = t * deviation / np.sqrt(n)
    around_limit = t * deviation * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    lower, upper = bias - 1.96 * deviation, bias + 1.96 * deviation
    return LimitsOfAgreement(
        pairs=n,
        bias=bias,
        bias_interval=(float(bias - around_bias), float(bias + around_bias)),
        standard_deviation=deviation,
        lower=lower,
        lower_interval=(float(lower - around_limit), float(lower + around_limit)),
        upper=upper,
        upper_interval=(float(upper - around_limit), float(upper + around_limit)),
    )
