"""The simulator's own solver as a forecast: tracer read off the last input, carried on with an average physiology.

It is told what no hospital knows, the true head, and shares the simulator's equations; what it lacks is the patient's
own flow, mixing and clearance, or, fitted, the clearance alone. On simulated patients it is therefore flattered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from service.imaging.reflux import concentration
from service.imaging.resampling import resample, sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Volume
from training.comparison.physics_fit import fit_physiology
from training.examples import Example
from training.settings import TrainingRecipe
from training.simulate.cohort import head_of
from training.simulate.lattice import Cells, lattice, to_volume
from training.simulate.patient import SimulatedPatient, load_patient
from training.simulate.signal import PAPER_PROTOCOL, signal_increase, tracer_per_tissue
from training.simulate.tissues import Head
from training.simulate.transport import Physiology, draw_physiology, solve

PHYSICS = "physics, average patient (true head known; simulated)"
PHYSICS_FITTED = "physics, fitted to the last input (true head known; simulated)"
_DRAWS = 400
_LARGE = 0.35  # share of heads with large ventricles
_NOISE_MM = 0.015
_THINNEST = 0.3  # fluid share of a cell that still shows its concentration


def forecasts(
    cohort: Path,
    names: Sequence[str],
    test: Sequence[Example],
    recipe: TrainingRecipe,
    kept: Path,
    *,
    fitted: bool = False,
) -> list[Float32]:
    """`forecast` of every test patient; those that are in the folder `kept` already are taken from there."""
    kept.mkdir(parents=True, exist_ok=True)
    answers = []
    for name, example in zip(names, test, strict=True):
        file = kept / f"{name}.npy"
        if not file.exists():
            partial = kept / f"{name}.part.npy"
            np.save(partial, forecast(cohort / f"{name}.npz", example, recipe, fitted=fitted))
            partial.replace(file)
        answers.append(np.load(file))
    return answers


def forecast(path: Path, example: Example, recipe: TrainingRecipe, *, fitted: bool = False) -> Float32:
    """The late image of a simulated patient, in the model's scale; volumes only.

    Parameters
    ----------
    path
        The patient's file.
    fitted
        With the patient's own flow, mixing and arrival, as far as the last input shows them.
    """
    if recipe.preprocessing.kind != "volume" or example.affines is None:
        raise ValueError("the solver's row is for volume recipes")
    patient = load_patient(path)
    head = head_of(patient.truth)
    cells = lattice(head)
    to_scanner = _pose(head, patient)
    depth, height, width = recipe.preprocessing.shape
    grid = Grid((depth, height, width), example.affines[0])
    window = recipe.visits.window_of(recipe.preprocessing.time_points[-1])
    seen = Volume((example.tensor[-1] - example.tensor[0]).astype(np.float32), grid)
    start = _tracer_seen(cells, seen, to_scanner)
    hours, late_h = patient.visits[window].hours, patient.visits[recipe.visits.target].hours
    physiology = average_physiology()
    if fitted:
        physiology = fit_physiology(cells, start, hours, physiology)
    c = solve(cells, physiology, (late_h,), start=(hours, start))[late_h]
    outside = to_volume(cells, c, ~cells.ventricle, head.grid)
    tracer = tracer_per_tissue(head, outside, to_volume(cells, c, cells.ventricle, head.grid))
    rise = Volume(signal_increase(PAPER_PROTOCOL, head, tracer), head.grid)
    brighter = resample(rise, grid, to_scanner.inverse(), antialias=True).array
    low, high = recipe.preprocessing.window
    return np.asarray(np.clip(example.before + brighter[None], low, high), dtype=np.float32)


def average_physiology() -> Physiology:
    """The mean of what the simulator draws."""
    rng = np.random.default_rng(24)
    drawn = [draw_physiology(rng, large_ventricles=bool(rng.random() < _LARGE)) for _ in range(_DRAWS)]
    return Physiology(**{f.name: float(np.mean([getattr(p, f.name) for p in drawn])) for f in fields(Physiology)})


def _tracer_seen(cells: Cells, increase: Volume, to_scanner: RigidTransform) -> Float32:
    """Concentration per unknown from the increase, fat units; none in brain tissue at that hour."""
    places = cells.grid.to_world(np.argwhere(cells.index >= 0)[:, ::-1])
    risen = np.nan_to_num(sample(increase, to_scanner.map(places)))
    fluid = np.maximum(cells.csf, _THINNEST)
    found = np.array([concentration(float(v)) for v in risen / fluid])
    found[(cells.csf < _THINNEST) | (found < _NOISE_MM)] = 0
    return found.astype(np.float32)


def _pose(head: Head, patient: SimulatedPatient) -> RigidTransform:
    """Head frame -> baseline scanner frame: the same points of orbital fat in both (Kabsch 1976)."""
    orbits = [(getattr(head.anatomy, s), getattr(patient.anatomy, s)) for s in ("left_orbit", "right_orbit")]
    own: Float64 = np.concatenate([mine.fat_points for mine, _ in orbits])
    seen: Float64 = np.concatenate([theirs.fat_points for _, theirs in orbits])
    u, _, vt = np.linalg.svd((own - own.mean(axis=0)).T @ (seen - seen.mean(axis=0)))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    matrix = np.eye(4)
    matrix[:3, :3] = vt.T @ flip @ u.T
    matrix[:3, 3] = seen.mean(axis=0) - matrix[:3, :3] @ own.mean(axis=0)
    return RigidTransform(matrix)
