"""One simulated patient: head, tracer, and all the founding paper's visits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from service.errors import InputRefused
from service.imaging.recipe_types import Anatomy
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid
from training.simulate.ground_truth import move
from training.simulate.heads import HEAD_SPACING_MM, draw_shape, make_head
from training.simulate.lattice import Cells, TransportError, lattice, to_volume
from training.simulate.patient import EARLY, LATE, SimulatedPatient, SimulatedVisit
from training.simulate.signal import coil_field, draw_protocol, draw_visit, relaxation_maps, scan, tracer_per_tissue
from training.simulate.templates import Template, bend
from training.simulate.tissues import Head, Tissue
from training.simulate.transport import draw_physiology, solve
from training.simulate.truth import draw_diagnosis, measures, true_grade

_BASELINE_H = -7 / 6  # on the morning of the injection
_LATE_H = 24.0
_FURTHER = {"3-5h": (3.0, 5.0), "5-7h": (5.0, 7.0), "7-9h": (7.0, 9.0), "48h": (46.0, 50.0), "29d": (672.0, 720.0)}
_TARGETS = (LATE, "48h", "29d")  # kept without noise as well
_FIELD_OF_VIEW_MM = (192.0, 246.0, 246.0)  # left, inferior, posterior: sagittal slices, as the founding paper's
_MASK_SPACING_MM = 3.0
_ATTEMPTS = 25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _DrawnHead:
    head: Head
    facts: dict[str, Any]
    large_ventricles: bool
    unenhanced: Float32 | None


def _draw_head(rng: np.random.Generator, template: Template | None) -> _DrawnHead:
    if template is None:
        shape = draw_shape(rng)
        head = make_head(shape, rng)
        return _DrawnHead(head=head, facts=asdict(shape), large_ventricles=shape.ventricle_radius > 8, unenhanced=None)
    bent = bend(template, rng)
    ventricle_ml = float((bent.head.labels == Tissue.LATERAL_VENTRICLE).sum()) * HEAD_SPACING_MM**3 / 1000
    facts = {"template": True, "ventricle_ml": ventricle_ml}
    return _DrawnHead(head=bent.head, facts=facts, large_ventricles=ventricle_ml > 45, unenhanced=bent.unenhanced)


def simulate_patient(
    seed: int, index: int, *, spacing_mm: float = HEAD_SPACING_MM, template: Template | None = None
) -> SimulatedPatient:
    """Patient `index` of the cohort `seed`; the same two numbers (and template) give the same patient.

    Raises
    ------
    TransportError, InputRefused
        No drawn head had joined fluid spaces, or looked like a head (`_ATTEMPTS` draws).
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, index, attempt])
        try:
            drawn = _draw_head(rng, template)
            cells = lattice(drawn.head)
        except (TransportError, InputRefused):
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    head = drawn.head
    physiology = draw_physiology(rng, large_ventricles=drawn.large_ventricles)
    hours = {"baseline": _BASELINE_H, EARLY: float(rng.uniform(1.0, 2.0)), LATE: _LATE_H}
    further = np.random.default_rng([seed, index, attempt, 1])
    hours |= {window: float(further.uniform(*ends)) for window, ends in _FURTHER.items()}
    solution = solve(cells, physiology, tuple(h for h in hours.values() if h > 0))
    maps, protocol = replace(relaxation_maps(head, rng), unenhanced=drawn.unenhanced), draw_protocol(rng)
    poses = {window: draw_visit(rng, head.grid.centre) for window in hours}
    grid = scanner_grid(spacing_mm, head.grid.centre)
    coil = coil_field(grid, rng)
    first = poses["baseline"].pose
    visits = {}
    for window, visit in poses.items():
        tracer = _tracer(head, cells, solution.get(hours[window]))
        image = scan(head, maps, tracer, protocol, visit, grid=grid, coil=coil, rng=rng)
        visits[window] = SimulatedVisit(
            hours=hours[window],
            volume=image.acquired,
            from_baseline=visit.pose.inverse() @ first,
            clean=image.clean if window in _TARGETS else None,
        )
    series = {window: measures(cells, solution[h]) for window, h in hours.items() if h > 0}
    truth = {
        "seed": seed,
        "index": index,
        "attempt": attempt,
        "diagnosis": draw_diagnosis(drawn.large_ventricles, np.random.default_rng([seed, index, 2])),
        "shape": drawn.facts,
        "physiology": asdict(physiology),
        "protocol": asdict(protocol),
        "visits": series,
        "grade": true_grade(series, hours),
        **series[LATE],
    }
    return SimulatedPatient(
        name=f"patient-{index:03d}",
        visits=dict(sorted(visits.items(), key=lambda item: item[1].hours)),
        anatomy=_seen_by(first, head),
        truth=truth,
    )


def head_of(truth: dict[str, Any], template: Template | None = None) -> Head:
    """The head of a simulated patient, drawn again from the numbers in its truth."""
    return _draw_head(np.random.default_rng([truth["seed"], truth["index"], truth["attempt"]]), template).head


def _tracer(head: Head, cells: Cells, c: Float32 | None) -> Float32:
    if c is None:
        return np.zeros(head.labels.shape, dtype=np.float32)
    outside = to_volume(cells, c, ~cells.ventricle, head.grid)
    return tracer_per_tissue(head, outside, to_volume(cells, c, cells.ventricle, head.grid))


def scanner_grid(spacing_mm: float, centre: Float64) -> Grid:
    """Sagittal slices: i -> posterior, j -> inferior, k -> left."""
    nk, nj, ni = (2 * round(s / spacing_mm / 2) for s in _FIELD_OF_VIEW_MM)
    affine = np.eye(4)
    affine[:3, 0] = (0, spacing_mm, 0)
    affine[:3, 1] = (0, 0, -spacing_mm)
    affine[:3, 2] = (spacing_mm, 0, 0)
    half = np.array([(ni - 1) / 2, (nj - 1) / 2, (nk - 1) / 2])
    affine[:3, 3] = centre - affine[:3, :3] @ half
    return Grid((nk, nj, ni), affine)


def _seen_by(pose: RigidTransform, head: Head) -> Anatomy:
    nk, nj, ni = (int(np.ceil(n * head.grid.spacing[0] / _MASK_SPACING_MM)) for n in head.grid.shape)
    grid = Grid.axis_aligned((nk, nj, ni), _MASK_SPACING_MM, pose.inverse().map(head.grid.centre[None])[0])
    return move(head.anatomy, pose, grid, head.labels, head.grid)
