"""Tracer in the fluid of a head: advection, dispersion and clearance by finite volumes.

One unknown per cell, ``c`` in mmol per litre of *fluid*; a cell holds ``phi * V`` of fluid, where
``phi`` is its CSF fraction plus 0.22 of its brain fraction (extracellular and perivascular space).
Implicit Euler with upwind advection gives an M-matrix: concentrations stay positive at any step,
and mass is conserved to the solver's tolerance. Lengths mm, times h, flows mm3/h.

Two potential flows share the fluid: one from the lateral ventricles (signed: choroidal production
when positive, net reflux when negative), one from the foramen magnum; both leave at the upper
convexity. Parameter ranges after Causemann 2026, Vinje 2023, Eide 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyamg
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from service.imaging.volume import Float32, Float64, Mask
from training.simulate.lattice import TISSUE_FLUID, Cells, TransportError

_D_FREE = 1.37  # mm2/h, gadobutrol in water at 37 C
_LITRE_PER_DAY = 1e6 / 24.0  # mm3/h
_RESTARTS = 6
_TAIL_H = (72.0, 96.0)  # by then one mode is left, which dies away exponentially
SolutionTimes = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Physiology:
    """Flow, mixing and clearance of one patient.

    Attributes
    ----------
    ventricular_flow
        Net flow out of the lateral ventricles, L/day; negative is retrograde (reflux).
    spinal_flow
        From the foramen magnum upwards, L/day.
    dispersion_sas, dispersion_basal, dispersion_ventricles
        Mixing by pulsation: D = D_free * (1 + R); basal: canal and cisterns below the brain's base.
    tissue_dispersion
        Factor on the diffusion in brain tissue.
    clearance_csf, clearance_brain
        First-order rates, 1/h.
    dose_mmol, fraction, delay_h
        Injected dose, the part of it that reaches the head, and the time constant of its arrival:
        inflow ``fraction * dose * t / delay**2 * exp(-t / delay)``.
    late_share, late_delay_h
        The share of that part which the spinal sac gives up more slowly, and its time constant. Without it all has
        arrived after six hours, where in the one volunteer whose figures are public the head's total still rises
        between 4 and 24 hours (Riseth et al. 2025: 15.7, 23.6, 17.2 % of the dose at 4, 24, 48 h).
    """

    ventricular_flow: float
    spinal_flow: float
    dispersion_sas: float
    dispersion_basal: float
    dispersion_ventricles: float
    tissue_dispersion: float
    clearance_csf: float
    clearance_brain: float
    dose_mmol: float = 0.5
    fraction: float
    delay_h: float
    late_share: float = 0.0
    late_delay_h: float = 8.0


def draw_physiology(rng: np.random.Generator, large_ventricles: bool) -> Physiology:
    """A random patient; reflux is commoner with large ventricles (Eide 2021)."""
    reflux = rng.random() < (0.75 if large_ventricles else 0.38)
    flow = rng.uniform(-0.4, 0.06) if reflux else max(0.1, rng.normal(0.38, 0.13))
    return Physiology(
        ventricular_flow=float(flow),
        spinal_flow=float(rng.uniform(0.1, 0.4) + max(0.0, -flow) * rng.uniform(0.7, 1.0)),
        dispersion_sas=float(np.exp(rng.uniform(np.log(25), np.log(160)))),
        dispersion_basal=float(np.exp(rng.uniform(np.log(200), np.log(1000)))),
        dispersion_ventricles=float(np.exp(rng.uniform(np.log(80), np.log(600)))),
        tissue_dispersion=float(rng.uniform(1.0, 5.0)),
        clearance_csf=float(1 / rng.uniform(60, 250)),
        clearance_brain=float(rng.uniform(0, 1 / 120)),
        fraction=float(rng.uniform(0.3, 0.45)),
        delay_h=float(rng.uniform(1.0, 2.4)),
        late_share=float(rng.uniform(0.3, 0.6)),
        late_delay_h=float(rng.uniform(5.0, 12.0)),
    )


def solve(
    cells: Cells,
    physiology: Physiology,
    times_h: SolutionTimes,
    step_scale: float = 1.0,
    start: tuple[float, Float32] | None = None,
) -> dict[float, Float32]:
    """Concentration per unknown (mmol/L of fluid) at each of `times_h` after injection.

    From the injection, or from the `start` (hours, concentrations) if one is known. Beyond 96 h what is left decays at
    the rate at which all of it did between 72 and 96 h.

    Raises
    ------
    TransportError
        The linear solver did not converge.
    """
    operator, _ = assemble(cells, physiology)
    capacity = cells.fluid * cells.volume
    step = cache(lambda dt: _step(sparse.diags(capacity) + dt * operator))  # few lengths, and each costs its multigrid
    now, c = (0.0, np.zeros(len(capacity))) if start is None else (start[0], start[1].astype(np.float64))
    answers: dict[float, Float32] = {}
    solved = sorted({t for t in times_h if t <= _TAIL_H[1]} | (set(_TAIL_H) if max(times_h) > _TAIL_H[1] else set()))
    for target in solved:
        while now < target - 1e-9:
            dt = min(step_length(now) * step_scale, target - now)
            # 1 mmol in 1 mm3 is 1e6 mmol/L
            source = arrived(physiology, now + dt) - arrived(physiology, now)
            right = capacity * c
            share = cells.foramen * cells.csf
            right = right + source * 1e6 * share / share.sum()
            c = step(dt)(right, c)
            now += dt
        answers[target] = c.astype(np.float32)
    for target in sorted(set(times_h) - answers.keys()):
        answers[target] = _decayed(answers, capacity, target)
    return {time: answers[time] for time in sorted(times_h)}


def _decayed(answers: dict[float, Float32], capacity: Float64, time: float) -> Float32:
    early, late = (float(capacity @ answers[t]) for t in _TAIL_H)
    rate = np.log(early / late) / (_TAIL_H[1] - _TAIL_H[0]) if late > 0 else 0.0
    return np.asarray(answers[_TAIL_H[1]] * np.exp(-rate * (time - _TAIL_H[1])), dtype=np.float32)


def step_length(now: float) -> float:
    """Hours: short while the bolus arrives, long when all is smooth."""
    for until, step in ((1.0, 0.125), (2.0, 0.25), (6.0, 0.5), (12.0, 1.0), (24.0, 1.5)):
        if now < until - 1e-9:
            return step
    return 4.0


def arrived(physiology: Physiology, t: float) -> float:
    """Millimoles that have passed the foramen magnum by `t` hours."""
    soon, late = t / physiology.delay_h, t / physiology.late_delay_h
    share = physiology.late_share
    come = (1 - share) * (1 - np.exp(-soon) * (1 + soon)) + share * (1 - np.exp(-late) * (1 + late))
    return float(physiology.dose_mmol * physiology.fraction * come)


def assemble(cells: Cells, physiology: Physiology) -> tuple[sparse.csr_matrix, Float64]:
    """Operator L with ``capacity dc/dt = -L c + source``, and the net outflow per cell (mm3/h)."""
    h = cells.grid.spacing[0]
    a, b = cells.faces.T
    mixing = np.where(cells.basal, physiology.dispersion_basal, physiology.dispersion_sas)
    mixing = np.where(cells.ventricle, physiology.dispersion_ventricles, mixing)
    d_csf = cells.csf * _D_FREE * (1 + mixing)
    d_tissue = TISSUE_FLUID * cells.brain * 0.45 * physiology.tissue_dispersion
    pial = 0.15 * (cells.csf[a] * cells.brain[b] + cells.csf[b] * cells.brain[a])  # mm/h
    conductance = h * (_harmonic(d_csf, a, b) * cells.open_faces + _harmonic(d_tissue, a, b)) + h * h * pial
    flux = _flow(cells, physiology)
    n = len(cells.csf)
    forward, backward = np.maximum(flux, 0), np.maximum(-flux, 0)
    rows = np.concatenate([a, b, a, b])
    columns = np.concatenate([a, b, b, a])
    values = np.concatenate(
        [conductance + forward, conductance + backward, -conductance - backward, -conductance - forward]
    )
    # what flows out of the lattice leaves with the cell's concentration; fresh fluid enters with none
    net = np.bincount(a, -flux, n) + np.bincount(b, flux, n)
    decay = cells.volume * (
        physiology.clearance_csf * cells.csf + physiology.clearance_brain * TISSUE_FLUID * cells.brain
    )
    diagonal = np.maximum(net, 0) + decay
    matrix = sparse.coo_matrix((values, (rows, columns)), shape=(n, n)).tocsr() + sparse.diags(diagonal)
    return matrix.tocsr(), np.asarray(net, dtype=np.float64)


def _step(matrix: sparse.csr_matrix) -> Callable[[Float64, Float64], Float64]:
    """Solves ``matrix @ c = right`` from a guess, for any number of right sides."""
    matrix = matrix.tocsr()
    # an M-matrix is what classical multigrid was made for: about five iterations, a diagonal wants hundreds
    cycle = pyamg.ruge_stuben_solver(matrix).aspreconditioner()

    def advance(right: Float64, start: Float64) -> Float64:
        answer, scale = start, max(float(np.linalg.norm(right)), 1e-30)
        for _ in range(_RESTARTS):  # BiCGStab can break down just short of the goal; it goes on from there
            answer, _ = linalg.bicgstab(matrix, right, x0=answer, rtol=1e-9, atol=0.0, maxiter=200, M=cycle)
            if np.linalg.norm(matrix @ answer - right) <= 1e-8 * scale:
                # the solver's own error may dip below zero by its tolerance
                return np.asarray(np.maximum(answer, 0))
        raise TransportError("a transport step did not converge")

    return advance


def _flow(cells: Cells, physiology: Physiology) -> Float64:
    """Volume flux through each face (mm3/h), positive from a to b."""
    a, b = cells.faces.T
    # fluid fills narrow tubes as well as wide cisterns: mobility follows the fluid fraction
    mobility = _harmonic(cells.csf, a, b) * cells.open_faces
    n = len(cells.csf)
    wet = cells.csf > 0
    laplacian = sparse.coo_matrix(
        (
            np.concatenate([mobility, mobility, -mobility, -mobility]),
            (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a])),
        ),
        shape=(n, n),
    ).tocsr()
    source = np.zeros(n)
    for where, flow in ((cells.lateral, physiology.ventricular_flow), (cells.foramen, physiology.spinal_flow)):
        source += flow * _LITRE_PER_DAY * _share(where, cells.csf)
    source -= source.sum() * _share(cells.convexity, cells.csf)
    keep = np.flatnonzero(wet)
    system = laplacian[keep][:, keep]
    diagonal = system.diagonal()
    system = (system + sparse.diags(np.where(diagonal > 0, 1e-9, 1.0))).tocsr()
    cycle = pyamg.ruge_stuben_solver(system).aspreconditioner()
    pressure = np.zeros(n)
    pressure[keep], info = linalg.cg(system, source[keep], rtol=1e-7, maxiter=500, M=cycle)
    if info != 0:
        raise TransportError(f"flow did not converge (code {info})")
    return np.asarray(mobility * (pressure[a] - pressure[b]))


def _share(where: Mask, weight: Float64) -> Float64:
    share = where * weight
    return np.asarray(share / share.sum())


def _harmonic(values: Float64, a: NDArray[np.int64], b: NDArray[np.int64]) -> Float64:
    total = values[a] + values[b]
    return np.asarray(2 * values[a] * values[b] / np.where(total > 0, total, 1.0))
