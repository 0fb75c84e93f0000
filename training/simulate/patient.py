"""A simulated patient: visits in their own scanner frames, and the truth; one file each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.imaging.recipe_types import Anatomy, Orbit, Plane
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume

EARLY, LATE = "1-2h", "24h"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedVisit:
    """One visit.

    Attributes
    ----------
    hours
        After the injection; negative before it.
    volume
        Scanner units.
    from_baseline
        Baseline -> this visit's points, LPS mm.
    clean
        The same image without noise, before rounding, where it was kept: what a perfect prediction shows.
    """

    hours: float
    volume: Volume
    from_baseline: RigidTransform
    clean: Volume | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedPatient:
    """Visits by the name of their window, and the truth.

    Attributes
    ----------
    anatomy
        Ground truth in the baseline frame.
    truth
        Drawn parameters and noise-free measures, e.g. ``reflux_index``: lateral-ventricle over
        subarachnoid concentration at 24 h.
    """

    name: str
    visits: Mapping[str, SimulatedVisit]
    anatomy: Anatomy
    truth: dict[str, Any]

    @property
    def baseline(self) -> Volume:
        """Before the injection."""
        return self.visits["baseline"].volume


def save_patient(patient: SimulatedPatient, folder: Path) -> Path:
    """One .npz per patient, written whole or not at all."""
    a = patient.anatomy
    arrays: dict[str, Any] = {
        "mask_affine": a.grid.affine,
        "masks": np.packbits(np.stack([a.head, a.brain, a.csf, a.lateral_ventricles])),
        "mask_shape": np.array(a.grid.shape),
        "brain_centre": a.brain_centre,
        "planes": np.stack([a.midsagittal.origin, a.midsagittal.normal, a.axial.origin, a.axial.normal]),
        "facts": json.dumps({"hours": {n: v.hours for n, v in patient.visits.items()}, "truth": patient.truth}),
    }
    for side, orbit in (("left", a.left_orbit), ("right", a.right_orbit)):
        if orbit is not None:
            arrays[f"{side}_globe"], arrays[f"{side}_fat"] = orbit.globe_centre, orbit.fat_points
    for name, visit in patient.visits.items():
        arrays[f"volume_{name}"] = visit.volume.array.astype(np.int16)
        arrays[f"affine_{name}"], arrays[f"pose_{name}"] = visit.volume.grid.affine, visit.from_baseline.matrix
        if visit.clean is not None:
            arrays[f"clean_{name}"] = np.rint(visit.clean.array).astype(np.int16)
    path = folder / f"{patient.name}.npz"
    partial = folder / f"{patient.name}.part.npz"
    np.savez_compressed(partial, **arrays)
    partial.replace(path)
    return path


def load_facts(path: Path) -> dict[str, Any]:
    """``hours`` by window and ``truth`` of a saved patient, without its images."""
    with np.load(path) as stored:
        return dict(json.loads(str(stored["facts"])))


def load_patient(path: Path) -> SimulatedPatient:
    """Read back what `save_patient` wrote."""
    with np.load(path) as stored:
        facts = json.loads(str(stored["facts"]))
        shape = tuple(int(n) for n in stored["mask_shape"])
        masks = np.unpackbits(stored["masks"], count=4 * int(np.prod(shape))).astype(bool).reshape(4, *shape)
        planes = stored["planes"]
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
        visits = {name: _visit(stored, name, hours) for name, hours in facts["hours"].items()}
    return SimulatedPatient(name=path.stem, visits=visits, anatomy=anatomy, truth=facts["truth"])


def _visit(stored: Mapping[str, Any], name: str, hours: float) -> SimulatedVisit:
    array = stored[f"volume_{name}"].astype(np.float32)
    grid = Grid(array.shape, stored[f"affine_{name}"])
    clean = f"clean_{name}"
    return SimulatedVisit(
        hours=hours,
        volume=Volume(array, grid),
        from_baseline=RigidTransform(stored[f"pose_{name}"]),
        clean=Volume(stored[clean].astype(np.float32), grid) if clean in stored else None,
    )
