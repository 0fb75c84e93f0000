"""Simulated patients put together from volumes, without simulating."""

from __future__ import annotations

from typing import Any

from service.imaging.recipe_types import Anatomy
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from training.simulate.patient import SimulatedPatient, SimulatedVisit


def three_visits(
    volumes: tuple[Volume, Volume, Volume],
    to_delayed: RigidTransform,
    to_late: RigidTransform,
    anatomy: Anatomy,
    *,
    name: str = "patient-000",
    truth: dict[str, Any] | None = None,
) -> SimulatedPatient:
    """Baseline, 1.5 h, 24 h; transforms from the baseline."""
    transforms = (RigidTransform.identity(), to_delayed, to_late)
    hours = {"baseline": -7 / 6, "1-2h": 1.5, "24h": 24.0}
    visits = {
        window: SimulatedVisit(hours=hours[window], volume=volume, from_baseline=transform)
        for window, volume, transform in zip(hours, volumes, transforms, strict=True)
    }
    return SimulatedPatient(name=name, visits=visits, anatomy=anatomy, truth=truth or {})
