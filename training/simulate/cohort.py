"""One simulated patient: head, tracer, three visits; and a cohort of them with its split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InputRefused
from service.imaging.recipe_types import Anatomy, Orbit, Plane
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Volume
from training.simulate.ground_truth import move
from training.simulate.heads import HEAD_SPACING_MM, draw_shape, make_head
from training.simulate.lattice import Cells, TransportError, lattice, to_volume
from training.simulate.signal import coil_field, draw_protocol, draw_visit, relaxation_maps, scan, tracer_per_tissue
from training.simulate.templates import Template, bend
from training.simulate.tissues import Head, Tissue
from training.simulate.transport import draw_physiology, solve

LATE_H = 24.0
_FIELD_OF_VIEW_MM = (192.0, 246.0, 246.0)  # left, inferior, posterior: sagittal slices, as the founding paper's
_MASK_SPACING_MM = 3.0
_ATTEMPTS = 25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedPatient:
    """Three visits in their own scanner frames, and the truth.

    Attributes
    ----------
    baseline, delayed, late
        Before the injection, ``hours`` after it, 24 h after it. Scanner units.
    to_delayed, to_late
        Baseline -> that visit's points, LPS mm.
    anatomy
        Ground truth in the baseline frame.
    truth
        Drawn parameters and noise-free measures, e.g. ``reflux_index``: lateral-ventricle over
        subarachnoid concentration at 24 h.
    """

    name: str
    baseline: Volume
    delayed: Volume
    late: Volume
    to_delayed: RigidTransform
    to_late: RigidTransform
    anatomy: Anatomy
    hours: float
    truth: dict[str, Any]


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
    hours = float(rng.uniform(1.0, 2.0))
    solution = solve(cells, physiology, (hours, LATE_H))
    maps, protocol = replace(relaxation_maps(head, rng), unenhanced=drawn.unenhanced), draw_protocol(rng)
    tracer = {0.0: np.zeros(head.labels.shape, dtype=np.float32)}
    for time, c in solution.items():
        outside = to_volume(cells, c, ~cells.ventricle, head.grid)
        tracer[time] = tracer_per_tissue(head, outside, to_volume(cells, c, cells.ventricle, head.grid))
    visits = [draw_visit(rng, head.grid.centre) for _ in range(3)]
    grid = scanner_grid(spacing_mm, head.grid.centre)
    coil = coil_field(grid, rng)
    volumes = [
        scan(head, maps, tracer[time], protocol, visit, grid=grid, coil=coil, rng=rng)
        for time, visit in zip((0.0, hours, LATE_H), visits, strict=True)
    ]
    truth = {
        "seed": seed,
        "index": index,
        "shape": drawn.facts,
        "physiology": asdict(physiology),
        "protocol": asdict(protocol),
        **_measures(cells, solution[LATE_H]),
    }
    return SimulatedPatient(
        name=f"patient-{index:03d}",
        baseline=volumes[0],
        delayed=volumes[1],
        late=volumes[2],
        to_delayed=visits[1].pose.inverse() @ visits[0].pose,
        to_late=visits[2].pose.inverse() @ visits[0].pose,
        anatomy=_seen_by(visits[0].pose, head),
        hours=hours,
        truth=truth,
    )


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


def split_cohort(n: int, seed: int) -> dict[str, list[str]]:
    """Patient-level split: 70 % train, 10 % val, 20 % test (at least one each); stored beside the cohort."""
    order = np.random.default_rng([seed, 24]).permutation(n)
    n_test, n_val = max(1, round(0.2 * n)), max(1, round(0.1 * n))
    names = [f"patient-{i:03d}" for i in order]
    parts = {"test": names[:n_test], "val": names[n_test : n_test + n_val], "train": names[n_test + n_val :]}
    return {part: sorted(members) for part, members in parts.items()}


def save_patient(patient: SimulatedPatient, folder: Path) -> Path:
    """One .npz per patient, written whole or not at all."""
    a = patient.anatomy
    arrays: dict[str, Any] = {
        "to_delayed": patient.to_delayed.matrix,
        "to_late": patient.to_late.matrix,
        "mask_affine": a.grid.affine,
        "masks": np.packbits(np.stack([a.head, a.brain, a.csf, a.lateral_ventricles])),
        "mask_shape": np.array(a.grid.shape),
        "brain_centre": a.brain_centre,
        "planes": np.stack([a.midsagittal.origin, a.midsagittal.normal, a.axial.origin, a.axial.normal]),
        "facts": json.dumps({"hours": patient.hours, "truth": patient.truth}),
    }
    for side, orbit in (("left", a.left_orbit), ("right", a.right_orbit)):
        if orbit is not None:
            arrays[f"{side}_globe"], arrays[f"{side}_fat"] = orbit.globe_centre, orbit.fat_points
    for name in ("baseline", "delayed", "late"):
        volume: Volume = getattr(patient, name)
        arrays[name], arrays[f"{name}_affine"] = volume.array.astype(np.int16), volume.grid.affine
    path = folder / f"{patient.name}.npz"
    partial = folder / f"{patient.name}.part.npz"
    np.savez_compressed(partial, **arrays)
    partial.replace(path)
    return path


def load_patient(path: Path) -> SimulatedPatient:
    """Read back what `save_patient` wrote."""
    with np.load(path) as stored:
        facts = json.loads(str(stored["facts"]))
        shape = tuple(int(n) for n in stored["mask_shape"])
        masks = np.unpackbits(stored["masks"], count=4 * int(np.prod(shape))).astype(bool).reshape(4, *shape)
        planes = stored["planes"]
        volumes = {
            name: Volume(stored[name].astype(np.float32), Grid(stored[name].shape, stored[f"{name}_affine"]))
            for name in ("baseline", "delayed", "late")
        }
        orbits = [
            Orbit(globe_centre=stored[f"{side}_globe"], fat_points=stored[f"{side}_fat"])
            if f"{side}_globe" in stored
            else None
            for side in ("left", "right")
        ]
        anatomy = Anatomy(
            grid=Grid((shape[0], shape[1], shape[2]), stored["mask_affine"]),
            head=masks[0],
            brain=masks[1],
            csf=masks[2],
            lateral_ventricles=masks[3],
            brain_centre=stored["brain_centre"],
            midsagittal=Plane(origin=planes[0], normal=planes[1]),
            axial=Plane(origin=planes[2], normal=planes[3]),
            left_orbit=orbits[0],
            right_orbit=orbits[1],
        )
        return SimulatedPatient(
            name=path.stem,
            anatomy=anatomy,
            to_delayed=RigidTransform(stored["to_delayed"]),
            to_late=RigidTransform(stored["to_late"]),
            hours=facts["hours"],
            truth=facts["truth"],
            **volumes,
        )


def _seen_by(pose: RigidTransform, head: Head) -> Anatomy:
    nk, nj, ni = (int(np.ceil(n * head.grid.spacing[0] / _MASK_SPACING_MM)) for n in head.grid.shape)
    grid = Grid.axis_aligned((nk, nj, ni), _MASK_SPACING_MM, pose.inverse().map(head.grid.centre[None])[0])
    return move(head.anatomy, pose, grid, head.labels, head.grid)


def _measures(cells: Cells, c: Float32) -> dict[str, float]:
    """Noise-free: what a perfect grader would see at 24 h."""
    height = np.argwhere(cells.index >= 0)[:, 0] * cells.grid.spacing[2] + cells.grid.origin[2]
    upper = (~cells.ventricle) & (height > -20)
    ventricle = float(np.average(c, weights=cells.csf * cells.lateral))
    sas = float(np.average(c, weights=cells.csf * upper))
    total = float((cells.fluid * c).sum() * cells.volume * 1e-6)
    return {"ventricle_mm": ventricle, "sas_mm": sas, "reflux_index": ventricle / max(sas, 1e-9), "total_mmol": total}


def simulate_cohort(folder: Path, n: int, seed: int, template: Template | None = None) -> Iterator[Path]:
    """Write ``split.json`` and one file per patient; patients already there are kept. Yields each path."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = split_cohort(n, seed)
    if template is not None:  # one anatomy, however bent: nothing of it is fit for judging
        parts = {"test": [], "val": [], "train": sorted(name for part in parts.values() for name in part)}
    split = json.dumps({"seed": seed, "patients": n, "template": template is not None, **parts}, indent=2) + "\n"
    (folder / "split.json").write_text(split, encoding="utf-8")
    for index in range(n):
        path = folder / f"patient-{index:03d}.npz"
        yield path if path.exists() else save_patient(simulate_patient(seed, index, template=template), folder)
