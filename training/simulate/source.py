"""A simulated cohort as a source of examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InputRefused, Reason, UsageError
from service.imaging.examination import Examination
from training.examples import Example
from training.prepare import prepare_as_served, prepare_patient
from training.prepared import NOT_YET, PARTS
from training.settings import TrainingRecipe
from training.simulate.patient import load_patient


class SimulatedSource:
    """The patients of a folder that ``csf24-training simulate`` wrote; see `training.prepared.Source`.

    With `keep_refused`, patients for judging whom a check on pixels refuses are kept all the same, and named.
    """

    simulated = True

    def __init__(self, cohort: Path, *, keep_refused: bool = False) -> None:
        try:
            split = json.loads((cohort / "split.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{cohort} has no split.json; `csf24-training simulate --out` writes it") from error
        self._cohort = cohort
        self._keep_refused = keep_refused
        self.kept: dict[str, tuple[Reason, ...]] = {}
        self.split: Mapping[str, Sequence[str]] = {part: split[part] for part in PARTS}
        bent = " --template /usr/share/mricron/templates/ch2.nii.gz" if split["template"] else ""
        command = f"csf24-training simulate --out {cohort} --patients {split['patients']} --seed {split['seed']}{bent}"
        self.facts: Mapping[str, Any] = {
            "seed": split["seed"],
            "bent": len(self.split["train"]) if split["template"] else 0,
            "commands": [command],
            "option": f"--cohort {cohort}" + (" --keep-refused" if keep_refused else ""),
            "cohort": str(cohort),
        }

    def examples(self, name: str, part: str, recipe: TrainingRecipe) -> Iterator[Example]:
        """From the truth for training, as the service sees it for judging."""
        if not self._file(name).exists():  # a cohort that is still being made is used as far as it is there
            raise InputRefused(Reason(code=NOT_YET, message="`simulate` has not come to it yet."))
        patient = load_patient(self._file(name))
        if recipe.visits.target not in patient.visits:
            message = f"It has no visit in the window {recipe.visits.target}."
            raise InputRefused(Reason(code="VISIT_MISSING", message=message))
        if part != "train":
            course = Examination(clock=lambda: 0.0, lenient=self._keep_refused)
            yield prepare_as_served(patient, recipe.preprocessing, recipe.visits, course)
            if course.checks.rejections:
                self.kept[name] = course.checks.rejections
            return
        number = int(name.rsplit("-", 1)[-1])
        for variant in range(recipe.training.variants):
            rng = np.random.default_rng([recipe.training.seed, number, variant]) if variant else None
            yield prepare_patient(patient, recipe.preprocessing, rng, recipe.visits)

    def _file(self, name: str) -> Path:
        return self._cohort / f"{name}.npz"
