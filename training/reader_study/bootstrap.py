"""Percentile intervals by drawing patients with replacement: all ratings of a patient stay together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from service.imaging.volume import Float64

LEVEL = 95.0
_FEWEST = 0.5  # share of draws that must give a figure, else there is no interval
_SAME = 1e-9  # draws that all give the figure itself know nothing of its uncertainty: full agreement, or few patients


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and its interval; NaN where it is undefined, or where no draw differs from another.

    Attributes
    ----------
    undefined_draws
        Share of the draws in which the figure was undefined (all ratings alike); the interval leaves them out.
    """

    value: float
    low: float
    high: float
    undefined_draws: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width: how little a study of this size can tell."""
        return (self.high - self.low) / 2


def estimates(
    ratings: Float64, figures: Mapping[str, Callable[[Float64], float]], *, draws: int, seed: int
) -> dict[str, Estimate]:
    """Each figure of `ratings` with its interval; all figures see the same draws.

    Parameters
    ----------
    ratings
        ``(patients, columns)``.
    figures
        Name -> function of such a table.
    """
    rng = np.random.default_rng(seed)
    found = {name: np.full(draws, np.nan) for name in figures}
    for draw in range(draws):
        drawn = ratings[rng.integers(0, len(ratings), len(ratings))] if len(ratings) else ratings
        for name, figure in figures.items():
            found[name][draw] = figure(drawn)
    return {name: _estimate(figure(ratings), found[name]) for name, figure in figures.items()}


def _estimate(value: float, drawn: Float64) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    undefined = 1 - len(known) / len(drawn)
    if np.isnan(value) or 1 - undefined < _FEWEST or np.ptp(known) < _SAME:
        return Estimate(value=value, low=float("nan"), high=float("nan"), undefined_draws=undefined)
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return Estimate(value=value, low=float(low), high=float(high), undefined_draws=undefined)
