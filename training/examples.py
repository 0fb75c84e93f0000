"""What a network is fitted and judged on: one model input with its answer, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from service.imaging.volume import Float32, Float64, Mask

_MASKS = ("csf", "brain", "ventricles", "core", "space")
_IMAGES = ("tensor", "target", "late", "clean", "rescan")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One model input with its answer; all ``(C, ...)`` without the batch axis.

    Attributes
    ----------
    tensor
        As `prepare` gives it.
    target
        The late image or the increase, as the recipe predicts, in the model's scale.
    late
        The late image (24 h, or what the recipe's target is) in the model's scale, for metrics.
    csf, brain
        Bool masks on the same lattice.
    ventricles
        Lateral ventricles, same lattice.
    core, space
        Where the reflux index is read: ventricle core and subarachnoid fluid; volumes only.
    clean
        Simulated patients: the late image without noise, as an oracle would give it.
    rescan
        Simulated patients: the late image with other noise, as a second scan would give it.
    affines
        ``(n, 4, 4)`` voxel -> LPS mm of the lattice (one, or one for each plane), baseline frame.
    """

    tensor: Float32
    target: Float32
    late: Float32
    csf: Mask
    brain: Mask
    ventricles: Mask | None = None
    core: Mask | None = None
    space: Mask | None = None
    clean: Float32 | None = None
    rescan: Float32 | None = None
    affines: Float64 | None = None

    @property
    def per_time(self) -> int:
        """Channels of one time point: 1 for volumes, 2 for slice pairs."""
        return int(self.late.shape[0])

    @property
    def inside(self) -> Mask:
        """Brain and fluid."""
        return np.asarray(self.brain | self.csf)

    @property
    def before(self) -> Float32:
        """The baseline, model's scale."""
        return self.tensor[: self.per_time]


def save_example(example: Example, path: Path) -> None:
    """Half precision for images: finer than their noise."""
    partial = path.with_suffix(".part.npz")
    arrays: dict[str, Any] = {}
    for name in (f.name for f in fields(example)):
        value = getattr(example, name)
        if value is None:
            continue
        arrays[name] = np.packbits(value) if name in _MASKS else value.astype(np.float16 if name in _IMAGES else float)
    np.savez(partial, **arrays)
    partial.replace(path)


def load_example(path: Path) -> Example:
    """Read back what `save_example` wrote."""
    with np.load(path) as stored:
        found: dict[str, Any] = {name: stored[name] for name in stored.files}
    shape = found["late"].shape
    for name in found.keys() & set(_IMAGES):
        found[name] = found[name].astype(np.float32)
    for name in found.keys() & set(_MASKS):
        found[name] = np.unpackbits(found[name], count=int(np.prod(shape))).astype(bool).reshape(shape)
    return Example(**found)


def load_part(prepared: Path, names: Sequence[str], variants: int) -> list[Example]:
    """Examples of the patients `names`; those that were not prepared are left out."""
    paths = [prepared / f"{name}-{v}.npz" for name in names for v in range(variants)]
    return [load_example(p) for p in paths if p.exists()]
