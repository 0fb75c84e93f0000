"""The solver's parameters of one patient, read off the delayed scan: what could be known by whoever knew the equations.

Flow, mixing and arrival are what decides the first hours, so they alone are fitted; clearance and exchange with tissue
stay those of the average patient. The estimate is the most probable one under the spread that the simulator draws from
(maximum a posteriori, Gaussian), by nonlinear least squares on the logarithm of concentration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from service.imaging.volume import Float32, Float64
from training.simulate.lattice import Cells
from training.simulate.transport import Physiology, solve

# centre and spread; flow in L/day as it is, all others as logarithms
_SIGNED = {"ventricular_flow": (0.05, 0.30)}
_POSITIVE = {
    "spinal_flow": (0.35, 0.45),
    "dispersion_sas": (63.0, 0.55),
    "dispersion_basal": (450.0, 0.50),
    "dispersion_ventricles": (220.0, 0.60),
    "fraction": (0.35, 0.17),
    "delay_h": (1.7, 0.25),
}
_START = {"ventricular_flow": -0.5}  # in spreads: without reflux there is nothing to see, and no slope to follow
_FLOOR_MM = 0.02
_FULL = 0.5  # fluid share of a cell that is looked at
_SPREAD = 0.7  # of one cell's logarithm: noise, partial volume, place
_ALIKE = 60.0  # neighbouring cells that err together, so count once
_EVALUATIONS = 4
_STEP_SCALE = 2.0  # the fit's own time steps; the forecast takes the usual ones


def fit_physiology(cells: Cells, seen: Float32, hours: float, average: Physiology) -> Physiology:
    """The most probable parameters of a patient whose tracer looks like `seen` after `hours`.

    Parameters
    ----------
    seen
        mmol/L of fluid per unknown.
    average
        Supplies what is not fitted.

    Raises
    ------
    TransportError
        The solver did not converge.
    """
    looked = cells.csf >= _FULL
    truth = np.log(seen[looked].astype(np.float64) + _FLOOR_MM)
    weight = 1 / (_SPREAD * np.sqrt(_ALIKE))

    def residuals(z: Float64) -> Float64:
        c = solve(cells, physiology_at(z, average), (hours,), step_scale=_STEP_SCALE)[hours]
        return np.concatenate([weight * (np.log(c[looked] + _FLOOR_MM) - truth), z])

    start = np.array([_START.get(name, 0.0) for name in (*_SIGNED, *_POSITIVE)])
    found = least_squares(residuals, start, bounds=(-3, 3), diff_step=0.05, max_nfev=_EVALUATIONS)
    return physiology_at(found.x, average)


def physiology_at(z: Float64, average: Physiology) -> Physiology:
    """At `z` spreads from the centre of each fitted parameter, in the order of the tables above."""
    centres = {**_SIGNED, **_POSITIVE}
    values = {
        name: centre + spread * float(at) if name in _SIGNED else centre * float(np.exp(spread * at))
        for (name, (centre, spread)), at in zip(centres.items(), z, strict=True)
    }
    return replace(average, **values)
