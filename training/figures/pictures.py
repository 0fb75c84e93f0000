"""A sagittal and an axial picture of every held-out case: what a run was given, the truth, and its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from service.errors import UsageError
from service.imaging.volume import Float32
from training.evaluate import predicted_late, run
from training.examples import Example
from training.settings import TrainingRecipe

FILE = "pictures.npz"
PLANES = ("sagittal", "axial")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunPictures:
    """Of one run.

    Attributes
    ----------
    run
        The folder's name.
    loss
        The recipe's: ``l1``, ``l2`` or ``pinball``.
    inputs
        Names of the time points that the model was given.
    planes
        Plane -> ``(cases, time points + 2, rows, columns)`` in the model's scale: the inputs, the real 24 h image,
        the predicted one. Upright: rows downwards; columns to the back (sagittal) or to the patient's left (axial).
    """

    run: str
    simulated: bool
    recipe: str
    loss: str
    inputs: tuple[str, ...]
    cases: tuple[str, ...]
    planes: dict[str, Float32]

    def shown(self, case: int, plane: str, what: str) -> Float32:
        """``real``, ``predicted``, or the name of an input."""
        place = {**{name: n for n, name in enumerate(self.inputs)}, "real": -2, "predicted": -1}[what]
        return np.asarray(self.planes[plane][case, place])


def write_pictures(
    network: nn.Module,
    recipe: TrainingRecipe,
    test: Sequence[Example],
    names: Sequence[str],
    path: Path,
    *,
    simulated: bool = True,
) -> None:
    """Write ``pictures.npz`` of `test`, whose patients are called `names`; of volumes, the middle planes."""
    network.eval()
    per_case = [_planes(example, predicted_late(run(network, example), example, recipe), recipe) for example in test]
    facts = {
        "simulated": simulated,
        "recipe": recipe.name,
        "loss": recipe.training.loss,
        "inputs": list(recipe.preprocessing.time_points),
        "cases": list(names),
    }
    stacks = {plane: np.stack([case[n] for case in per_case]).astype(np.float16) for n, plane in enumerate(PLANES)}
    partial = path.with_suffix(".part.npz")
    np.savez_compressed(partial, facts=json.dumps(facts), sagittal=stacks["sagittal"], axial=stacks["axial"])
    partial.replace(path)


def read_pictures(folder: Path) -> RunPictures:
    """Of the run in `folder`.

    Raises
    ------
    UsageError
        It was not evaluated, or by an older version.
    """
    try:
        with np.load(folder / FILE) as stored:
            facts = json.loads(str(stored["facts"]))
            planes = {plane: stored[plane].astype(np.float32) for plane in PLANES}
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"{folder} has no usable {FILE} ({type(error).__name__}); `csf24-training evaluate` writes it"
        ) from error
    return RunPictures(
        run=folder.name,
        simulated=facts.get("simulated") is not False,
        recipe=facts["recipe"],
        loss=facts["loss"],
        inputs=tuple(facts["inputs"]),
        cases=tuple(facts["cases"]),
        planes=planes,
    )


def _planes(example: Example, predicted: Float32, recipe: TrainingRecipe) -> tuple[Float32, Float32]:
    channels = np.concatenate([example.tensor, example.late, predicted])
    if recipe.preprocessing.kind == "slice_pair":  # sagittal and axial channels alternate
        return channels[0::2], channels[1::2]
    depth, _, width = channels.shape[1:]
    return channels[:, ::-1, :, width // 2], channels[:, depth // 2]
