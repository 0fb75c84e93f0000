"""A pair of scans as the recipe takes them, its alignment and signal reference given."""

from __future__ import annotations

from service.imaging.recipe_types import AlignedScan
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume


def aligned_pair(
    baseline: Volume, delayed: Volume, to_delayed: RigidTransform, *, fats: tuple[float, float]
) -> dict[str, AlignedScan]:
    """`to_delayed` maps baseline -> delayed; `fats` of either."""
    return {
        "baseline": AlignedScan(volume=baseline, transform=RigidTransform.identity(), fat=fats[0]),
        "delayed": AlignedScan(volume=delayed, transform=to_delayed, fat=fats[1]),
    }
