"""A recipe with its prepared cohorts, and the network of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from service.errors import UsageError
from training.examples import Example
from training.model import build
from training.prepared import PreparedCohort, open_prepared
from training.settings import TrainingRecipe, load_recipe


def load_cohorts(recipe: str, prepared: Sequence[Path]) -> tuple[TrainingRecipe, list[PreparedCohort]]:
    """Only the first cohort is tested on; later ones help to train."""
    chosen = load_recipe(recipe)
    return chosen, [open_prepared(folder, chosen) for folder in prepared]


def load_examples(cohorts: Sequence[PreparedCohort], part: str) -> list[Example]:
    """Of all `cohorts`, one after the other."""
    return [example for cohort in cohorts for example in cohort.load(part)]


def load_network(recipe: TrainingRecipe, run: Path) -> nn.Module:
    """The best weights of `run`, ready to answer.

    Raises
    ------
    UsageError
        There are none, or of another network.
    """
    network = build(recipe)
    try:
        network.load_state_dict(torch.load(run / "best.pt", weights_only=True))
    except FileNotFoundError as error:
        raise UsageError(f"{run} has no best.pt; `csf24-training fit` writes it") from error
    except RuntimeError as error:
        raise UsageError(f"{run} holds the weights of another network than recipe {recipe.name}'s") from error
    return network.eval()
