"""A patient's scans -> model input and answer, through the `service.imaging.recipe` that the service calls.

What is judged (validation and test) goes the service's whole way: its own outline of the head, its registration, its
checks. Simulated training patients are prepared from the truth, with the errors that finding it makes put back at
random, so that one patient gives several examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging.examination import Examination, examine, examine_baseline, examine_later
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.recipe import prepare
from service.imaging.recipe_types import AlignedScan, Anatomy, ModelInput, Plane, PreprocessingRecipe
from service.imaging.reflux import reflux_regions
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Mask, Volume
from training.examples import Example
from training.settings import VisitSettings
from training.simulate.patient import SimulatedPatient
from training.windows import BASELINE

_THE_PAPERS = VisitSettings()
_TARGET = "target"


def prepare_patient(
    patient: SimulatedPatient,
    recipe: PreprocessingRecipe,
    rng: np.random.Generator | None = None,
    visits: VisitSettings = _THE_PAPERS,
) -> Example:
    """The example of one patient, from the ground-truth anatomy; with `rng`, with realistic errors of it."""
    scans = {}
    for window in _wanted(recipe, visits):
        visit = patient.visits[window]
        fat = measure_orbital_fat(visit.volume, patient.anatomy, visit.from_baseline).median
        scans[window] = AlignedScan(volume=visit.volume, transform=visit.from_baseline, fat=fat)
    return make_example(scans, patient.anatomy, recipe, visits, truth=patient.anatomy, rng=rng)


def prepare_as_served(
    patient: SimulatedPatient,
    recipe: PreprocessingRecipe,
    visits: VisitSettings = _THE_PAPERS,
    course: Examination | None = None,
) -> Example:
    """The example with the anatomy and the alignment that the service finds by itself, and its checks passed.

    Parameters
    ----------
    course
        Keeps the verdicts; a lenient one goes on after a rejection.

    Raises
    ------
    InputRefused
        The service refuses the patient.
    """
    volumes = {window: patient.visits[window].volume for window in _wanted(recipe, visits)}
    scans, anatomy = align_as_served(volumes, recipe, visits, course)
    example = make_example(scans, anatomy, recipe, visits, truth=patient.anatomy)
    late = patient.visits[visits.target]
    if late.clean is None:
        return example
    rng = np.random.default_rng([*patient.name.encode()])
    rescan = _noisy_again(late.clean, late.volume, rng)
    others = [
        _answer({**scans, visits.target: replace(scans[visits.target], volume=volume)}, anatomy, recipe, visits)
        for volume in (late.clean, rescan)
    ]
    per_time = example.per_time
    return replace(example, clean=others[0].tensor[0, -per_time:], rescan=others[1].tensor[0, -per_time:])


def align_as_served(
    volumes: Mapping[str, Volume],
    recipe: PreprocessingRecipe,
    visits: VisitSettings,
    course: Examination | None = None,
) -> tuple[dict[str, AlignedScan], Anatomy]:
    """Outline, register, normalise and check a patient's visits as the service does.

    Parameters
    ----------
    volumes
        By window; at least those that the recipe wants.

    Raises
    ------
    InputRefused
        The service refuses one of them; VISIT_MISSING when one is not there.
    """
    wanted = _wanted(recipe, visits)
    absent = [window for window in wanted if window not in volumes]
    if absent:
        text = f"There is no visit in the window {', '.join(absent)}, which the recipe wants."
        raise InputRefused(Reason(code="VISIT_MISSING", message=text))
    course = course or Examination(clock=lambda: 0.0)
    early = [window for window in wanted if window not in (BASELINE, visits.target)]
    if early:
        pair = examine(volumes[BASELINE], volumes[early[0]], course)
        anatomy, scans = pair.anatomy, {BASELINE: pair.baseline, early[0]: pair.delayed}
    else:
        anatomy, baseline = examine_baseline(volumes[BASELINE], course)
        scans = {BASELINE: baseline}
    for window in (*early[1:], visits.target):
        scans[window] = examine_later(scans[BASELINE], volumes[window], anatomy, course)
    return scans, anatomy


def make_example(
    scans: Mapping[str, AlignedScan],
    anatomy: Anatomy,
    recipe: PreprocessingRecipe,
    visits: VisitSettings,
    *,
    truth: Anatomy | None = None,
    rng: np.random.Generator | None = None,
) -> Example:
    """The example of aligned `scans` (by window).

    Parameters
    ----------
    truth
        Where the masks come from if better is known than `anatomy`.
    rng
        Varies the pose of the lattice and the alignment as finding them does.
    """
    if rng is not None:
        anatomy = _misplaced(anatomy, rng)
        error = _error(rng, anatomy)
        moved = {w: replace(s, transform=s.transform @ error) for w, s in scans.items() if w != BASELINE}
        # the answer stays where it is: a model is to foretell it in the baseline's place
        scans = {**scans, **moved, visits.target: scans[visits.target]}
    series = {point: scans[visits.window_of(point)] for point in recipe.time_points}
    given = prepare({BASELINE: scans[BASELINE], **series}, anatomy=anatomy, recipe=recipe)
    answer = _answer(scans, anatomy, recipe, visits)
    per_time = answer.tensor.shape[1] // 2
    late, before = answer.tensor[0, -per_time:], answer.tensor[0, :per_time]
    known = truth or anatomy
    regions = {"csf": known.csf, "brain": known.brain, "ventricles": known.lateral_ventricles}
    if recipe.kind == "volume":
        regions["core"], regions["space"] = reflux_regions(known)
    masks: dict[str, Any] = {name: _on_lattice(mask, known, answer) for name, mask in regions.items()}
    return Example(
        tensor=given.tensor[0],
        target=late - before if recipe.predicts == "increase" else late,
        late=late,
        affines=np.stack([grid.affine for grid in answer.grids]),
        **masks,
    )


def _wanted(recipe: PreprocessingRecipe, visits: VisitSettings) -> tuple[str, ...]:
    return tuple(dict.fromkeys([BASELINE, *map(visits.window_of, recipe.time_points), visits.target]))


def _answer(
    scans: Mapping[str, AlignedScan], anatomy: Anatomy, recipe: PreprocessingRecipe, visits: VisitSettings
) -> ModelInput:
    """Baseline and target in the model's scale, whatever the model is given."""
    both = {BASELINE: scans[BASELINE], _TARGET: scans[visits.target]}
    return prepare(both, anatomy=anatomy, recipe=replace(recipe, time_points=(BASELINE, _TARGET)))


def _on_lattice(mask: Mask, anatomy: Anatomy, answer: ModelInput) -> Mask:
    volume = Volume(mask.astype(np.float32), anatomy.grid)
    planes = [resample(volume, grid).array > 0.5 for grid in answer.grids]
    return np.concatenate(planes) if answer.recipe.kind == "slice_pair" else planes[0][None]


def _noisy_again(clean: Volume, acquired: Volume, rng: np.random.Generator) -> Volume:
    """`clean` with as much Rician noise as `acquired` has."""
    gap = (acquired.array - clean.array)[clean.array > np.percentile(clean.array, 80)]
    sigma = np.float32(1.4826 * np.median(np.abs(gap - np.median(gap))))
    real, imaginary = (sigma * rng.standard_normal(clean.array.shape, dtype=np.float32) for _ in range(2))
    return clean.with_array(np.asarray(np.hypot(clean.array + real, imaginary), dtype=np.float32))


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
