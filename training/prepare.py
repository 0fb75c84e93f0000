"""Cohort -> tensors, through the same `service.imaging.recipe.prepare` that the service calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.errors import InputRefused
from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.recipe import prepare
from service.imaging.recipe_types import Anatomy, Plane, PreprocessingRecipe
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Mask, Volume
from training.simulate.cohort import SimulatedPatient, load_patient


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One model input with its answer; all ``(C, ...)`` without the batch axis.

    Attributes
    ----------
    tensor
        As `prepare` gives it.
    target
        The 24 h image or the increase, as the recipe predicts, in the model's scale.
    late
        The 24 h image in the model's scale, for metrics.
    csf, brain
        Bool masks on the same lattice.
    """

    tensor: Float32
    target: Float32
    late: Float32
    csf: Mask
    brain: Mask


def prepare_patient(
    patient: SimulatedPatient, recipe: PreprocessingRecipe, rng: np.random.Generator | None = None
) -> Example:
    """The example of one patient, from the ground-truth anatomy; with `rng`, with realistic errors of it."""
    return _example(patient, patient.anatomy, recipe, rng)


def prepare_as_served(patient: SimulatedPatient, recipe: PreprocessingRecipe) -> Example | None:
    """The example with the anatomy that the service finds by itself; None where it finds no head or no fat."""
    try:
        found = find_anatomy(patient.baseline)
        return _example(patient, found, recipe, None)
    except InputRefused:
        return None


def prepare_cohort(cohort: Path, out: Path, recipe: PreprocessingRecipe, variants: int, seed: int) -> list[Path]:
    """One .npz per patient and variant; variant 0 has no jitter. Files already there are kept."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sorted(cohort.glob("patient-*.npz")):
        if source.stem.endswith(".part"):
            continue
        targets = [out / f"{source.stem}-{v}.npz" for v in range(variants)]
        if not all(t.exists() for t in targets):
            patient = load_patient(source)
            number = int(source.stem.rsplit("-", 1)[-1])
            try:
                for variant, path in enumerate(targets):
                    rng = np.random.default_rng([seed, number, variant]) if variant else None
                    save_example(prepare_patient(patient, recipe, rng), path)
            except InputRefused:  # orbits outside the field of view: the service would refuse it too
                continue
        written += targets
    return written


def save_example(example: Example, path: Path) -> None:
    """Half precision for images: finer than their noise."""
    partial = path.with_suffix(".part.npz")
    np.savez(
        partial,
        tensor=example.tensor.astype(np.float16),
        target=example.target.astype(np.float16),
        late=example.late.astype(np.float16),
        csf=np.packbits(example.csf),
        brain=np.packbits(example.brain),
    )
    partial.replace(path)


def load_example(path: Path) -> Example:
    """Read back what `save_example` wrote."""
    with np.load(path) as stored:
        late = stored["late"].astype(np.float32)
        masks = [np.unpackbits(stored[k], count=late.size).astype(bool).reshape(late.shape) for k in ("csf", "brain")]
        return Example(
            tensor=stored["tensor"].astype(np.float32),
            target=stored["target"].astype(np.float32),
            late=late,
            csf=masks[0],
            brain=masks[1],
        )


def load_part(prepared: Path, names: Sequence[str], variants: int) -> list[Example]:
    """Examples of the patients `names`; those not prepared yet are left out."""
    paths = [prepared / f"{name}-{v}.npz" for name in names for v in range(variants)]
    return [load_example(p) for p in paths if p.exists()]


def _example(
    patient: SimulatedPatient, anatomy: Anatomy, recipe: PreprocessingRecipe, rng: np.random.Generator | None
) -> Example:
    fat = [
        measure_orbital_fat(volume, anatomy, transform).median
        for volume, transform in (
            (patient.baseline, None),
            (patient.delayed, patient.to_delayed),
            (patient.late, patient.to_late),
        )
    ]
    to_delayed, to_late = patient.to_delayed, patient.to_late
    if rng is not None:
        anatomy = _misplaced(anatomy, rng)
        to_delayed = to_delayed @ _error(rng, anatomy)
    given = prepare(
        patient.baseline, patient.delayed, transform=to_delayed, anatomy=anatomy,
        fat_baseline=fat[0], fat_delayed=fat[1], recipe=recipe,
    )  # fmt: skip
    answer = prepare(
        patient.baseline, patient.late, transform=to_late, anatomy=anatomy, fat_baseline=fat[0], fat_delayed=fat[2],
        recipe=replace(recipe, time_points=("baseline", "delayed")),  # whatever the model is given
    )  # fmt: skip
    per_time = answer.tensor.shape[1] // 2
    late, before = answer.tensor[0, -per_time:], answer.tensor[0, :per_time]
    truth = patient.anatomy
    masks = []
    for mask in (truth.csf, truth.brain):
        volume = Volume(mask.astype(np.float32), truth.grid)
        channels = [resample(volume, grid).array > 0.5 for grid in answer.grids]
        masks.append(np.concatenate(channels) if recipe.kind == "slice_pair" else channels[0][None])
    return Example(
        tensor=given.tensor[0],
        target=late - before if recipe.predicts == "increase" else late,
        late=late,
        csf=masks[0],
        brain=masks[1],
    )


def _misplaced(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Planes and centre as an imperfect finder would give them: 8 mm, 5 degrees, level within 8 mm."""

    def plane(p: Plane, shift: float) -> Plane:
        tilt = RigidTransform.from_euler(rng.normal(0, 2.5, 3).tolist(), (0, 0, 0))
        return Plane(origin=p.origin + p.normal * rng.normal(0, shift), normal=tilt.matrix[:3, :3] @ p.normal)

    return replace(
        anatomy,
        brain_centre=anatomy.brain_centre + rng.uniform(-8, 8, 3),
        midsagittal=plane(anatomy.midsagittal, 2.0),
        axial=plane(anatomy.axial, 5.0),
    )


def _error(rng: np.random.Generator, anatomy: Anatomy) -> RigidTransform:
    """A registration error of about 0.5 mm."""
    return RigidTransform.from_euler(
        rng.normal(0, 0.25, 3).tolist(), rng.normal(0, 0.3, 3).tolist(), anatomy.brain_centre
    )
