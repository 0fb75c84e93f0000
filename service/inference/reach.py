"""How far a model reaches: a distance of an input from those that the model was made from, and where it ends.

A dozen plain figures of an input - how bright, how spread, how much brighter the delayed scan is, how much fluid - and
their Mahalanobis distance from the training patients' (Lee et al. 2018 do the same with a network's own features). It
tells another contrast, another dose, another kind of head; it sees no lesion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.imaging.quality import QualityReport, judge, report
from service.imaging.volume import Float32, Float64

_SIGNAL = 0.05  # of the model's scale: head, not air
_DARK = 0.5  # of the head's median
_SMALLEST = 100
_RISE = (50, 90, 99)
_LEVELS = (10, 50, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Of one model.

    Attributes
    ----------
    mean, precision
        Of `features` over the training patients; precision is the inverse of their covariance, row by row.
    limit
        Largest distance that is taken.
    patients
        Validation patients that the limit rests on.
    """

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float
    patients: int

    def __post_init__(self) -> None:
        shape = np.array(self.precision, dtype=np.float64).shape
        values = [*self.mean, *(v for row in self.precision for v in row), self.limit]
        if shape != (len(self.mean),) * 2 or not np.isfinite(values).all() or self.limit <= 0:
            raise ValueError(f"reach of {len(self.mean)} figures with a matrix {shape} and limit {self.limit}")

    def distance(self, tensor: Float32, times: int) -> float:
        """Of an input ``(1, C, ...)`` with so many time points; NaN for one without signal.

        Raises
        ------
        ValueError
            The input has other figures than this reach is of.
        """
        found = features(tensor, times)
        if len(found) != len(self.mean):
            raise ValueError(f"{len(found)} figures of the input, {len(self.mean)} of the training patients'")
        gap = found - np.array(self.mean)
        return float(np.sqrt(max(gap @ np.array(self.precision) @ gap, 0.0)) if np.isfinite(gap).all() else np.nan)


def features(tensor: Float32, times: int) -> Float64:
    """Plain figures of a prepared input, baseline first; NaN where there is no signal."""
    baseline, *later = np.split(tensor[0].astype(np.float64), times)
    head = baseline > _SIGNAL
    count = 3 + len(_LEVELS) + len(later) * (1 + len(_LEVELS) + 1 + len(_RISE))
    if np.count_nonzero(head) < _SMALLEST:
        return np.full(count, np.nan)
    before = baseline[head]
    found = [float(head.mean()), float((before < _DARK * np.median(before)).mean()), *_spread(before)]
    for image in later:
        rise = image[head] - before
        found += [*_spread(image[head]), float(rise.mean()), *np.percentile(rise, _RISE)]
    return np.array(found)


def _spread(values: Float64) -> list[float]:
    return [float(values.std()), *(float(v) for v in np.percentile(values, _LEVELS))]


def check_reach(tensor: Float32, times: int, reach: Reach | None) -> QualityReport:
    """Is the input one of those that the model was made for? Nothing is asked of a model that does not say."""
    if reach is None:
        return report([])
    return report([judge("INPUT_UNUSUAL", reach.distance(tensor, times) / reach.limit)])


def reach_from(document: Mapping[str, Any]) -> Reach:
    """As a manifest holds it.

    Raises
    ------
    ValueError, TypeError
        It is none.
    """
    return Reach(
        mean=tuple(float(v) for v in document["mean"]),
        precision=tuple(tuple(float(v) for v in row) for row in document["precision"]),
        limit=float(document["limit"]),
        patients=int(document["patients"]),
    )
