"""What the delayed scan should show where the baseline shows a given signal: a curve, a gain field, and doubt.

The curve gives the usual delayed signal for each baseline signal, and how far it usually strays; the gain
field is a smooth factor over the head. Between them they take up receiver gain, contrast and shading, so that
these are no misfit. Tracer is what they cannot explain: fluid is bright here and dark there, strays widely,
and weighs little as a class; a voxel far off its class weighs nothing (Tukey's biweight).

Source: Reuter, Rosas, Fischl, NeuroImage 53 (2010) 1181, DOI 10.1016/j.neuroimage.2010.07.020, for the
biweight with a robust scale; curve, classes and field in place of their single intensity scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.volume import Float64, Mask

_STIFFNESS = 1e-3  # of the curve against bending; carries it over signal that no sample has
_BRIGHTEST_PERCENTILE = 99.5  # the curve is level beyond; a few vessels would stretch it
_MAD_TO_SIGMA, _MEAN_TO_SIGMA = 1.4826, 1.2533  # for a normal distribution
_NARROWEST, _WIDEST = 0.3, 5.0  # a class's spread, in units of the overall one
_OUTLIER = 4.0  # in overall spreads; counts no further towards a class's spread
_FEW_SAMPLES = 20.0  # a class of fewer has the overall spread
_LOWEST_GAIN, _HIGHEST_GAIN = 0.3, 3.0


class NoSignalError(ValueError):
    """Nothing stands out that could be aligned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stiffness:
    """How much the model may explain.

    Attributes
    ----------
    classes
        Nodes of the curve.
    field_order
        Degree of the gain field's polynomial.
    cutoff
        In class spreads; a misfit beyond it weighs nothing.
    """

    classes: int
    field_order: int
    cutoff: float


class SignalModel:
    """Curve, gain field and weights for N samples with baseline signal `reference`.

    Parameters
    ----------
    reference
        ``(N,)`` baseline signal.
    usable
        ``(N,)``: where it was seen.
    places
        ``(N, 3)`` sample positions, scaled to about -1..1, for the gain field.

    Raises
    ------
    NoSignalError
        `reference` is the same everywhere.
    """

    def __init__(self, reference: Float64, usable: Mask, places: Float64, stiffness: Stiffness) -> None:
        n = stiffness.classes
        low, high = np.percentile(reference[usable], [0, _BRIGHTEST_PERCENTILE])
        if high <= low:
            raise NoSignalError
        position = np.clip((reference - low) / (high - low), 0, 1) * (n - 1)
        self._class = np.minimum(position.astype(np.int64), n - 2)
        self._share = position - self._class
        self._per_signal = np.where((reference > low) & (reference < high), (n - 1) / (high - low), 0.0)
        bending = np.diff(np.eye(n), 2, axis=0)
        self._bending = bending.T @ bending
        self._stiffness = stiffness
        self._field = _polynomial(places, stiffness.field_order)
        self._coefficients = np.zeros(self._field.shape[1])
        self._gain = np.ones(len(reference))
        self.curve = np.zeros(n)
        self.weights = np.ones(len(reference))
        self.misfit = np.zeros(len(reference))

    def fit(self, seen: Float64, usable: Mask, rounds: int) -> None:
        """Curve, misfit and weights for the delayed signal `seen` under the present gain field."""
        for _ in range(rounds):
            self.curve = self._fit_curve(seen, self.weights * usable)
            self.misfit = seen - self._gain * self._on_curve()
            self.weights = self._biweight(usable)

    def field_slopes(self) -> Float64:
        """``(N, F)``: change of the predicted signal per field coefficient."""
        return np.asarray(self._on_curve()[:, None] * self._field)

    def reference_slopes(self) -> Float64:
        """``(N,)``: change of the predicted signal per change of the baseline signal."""
        return np.asarray(self._gain * np.diff(self.curve)[self._class] * self._per_signal)

    def move_field(self, change: Float64) -> None:
        """Add `change` to the gain field's coefficients."""
        self._coefficients = self._coefficients + change
        self._gain = np.clip(1 + self._field @ self._coefficients, _LOWEST_GAIN, _HIGHEST_GAIN)

    def _on_curve(self) -> Float64:
        return np.asarray(self.curve[self._class] * (1 - self._share) + self.curve[self._class + 1] * self._share)

    def _fit_curve(self, seen: Float64, weights: Float64) -> Float64:
        # least squares for a broken line: tridiagonal, one row a node
        n = self._stiffness.classes
        left, right = self._gain * (1 - self._share), self._gain * self._share
        own = np.bincount(self._class, weights * left**2, n) + np.bincount(self._class + 1, weights * right**2, n)
        beside = np.bincount(self._class, weights * left * right, n)[:-1]
        target = np.bincount(self._class, weights * left * seen, n)
        target += np.bincount(self._class + 1, weights * right * seen, n)
        normal = np.diag(own) + np.diag(beside, 1) + np.diag(beside, -1)
        return np.asarray(np.linalg.solve(normal + _STIFFNESS * own.sum() / n * self._bending, target))

    def _biweight(self, usable: Mask) -> Float64:
        n = self._stiffness.classes
        off = np.abs(self.misfit)
        overall = _MAD_TO_SIGMA * float(np.median(off[usable])) + np.finfo(np.float32).tiny
        counted = self.weights * usable
        number = np.bincount(self._class, counted, n)
        strayed = np.bincount(self._class, counted * np.minimum(off, _OUTLIER * overall), n)
        spread = np.where(number > _FEW_SAMPLES, _MEAN_TO_SIGMA * strayed / np.maximum(number, 1.0), overall)
        spread = np.clip(spread, _NARROWEST * overall, _WIDEST * overall)[self._class]
        ratio = off / (self._stiffness.cutoff * spread)
        return np.asarray(np.where(ratio < 1, (1 - ratio**2) ** 2, 0.0) * (overall / spread) ** 2)


def _polynomial(places: Float64, order: int) -> Float64:
    """All products of powers up to `order`, without the constant."""
    x, y, z = places.T
    degrees = range(order + 1)
    terms = [x**a * y**b * z**c for a in degrees for b in degrees for c in degrees if 0 < a + b + c <= order]
    return np.stack(terms, axis=1)
