"""Every method on every test patient, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from service.errors import UsageError
from service.imaging.volume import Float32
from service.inference.onnx import load_predictor
from training.comparison.measures import measure
from training.comparison.methods import Method, known_truth, plain_methods
from training.comparison.table import Row
from training.evaluate import predicted_late, run
from training.examples import Example
from training.model import count_parameters
from training.settings import TrainingRecipe


def compare(
    networks: Mapping[str, nn.Module],
    recipe: TrainingRecipe,
    train: Sequence[Example],
    test: Sequence[Example],
    *,
    further: Mapping[str, Sequence[Float32]] | None = None,
    on_row: Callable[[], Any] = lambda: None,
) -> list[Row]:
    """Rows in the order of effort: plain methods, `further` answers, networks, what only a simulator knows.

    Parameters
    ----------
    further
        Late images that were made elsewhere, by method, in the order of `test`.
    """
    span = _span(recipe)
    rows = []
    for name, method in plain_methods(train).items():
        rows.append(_timed(name, method, test, span))
        on_row()
    for name, answers in (further or {}).items():
        measured = [measure(a, e, span) for a, e in zip(answers, test, strict=True)]
        rows.append(Row(method=name, patients=measured))
        on_row()
    for name, network in networks.items():
        network.eval()
        row = _timed(name, _answer_of(network, recipe), test, span)
        rows.append(
            Row(
                method=row.method,
                patients=row.patients,
                milliseconds=row.milliseconds,
                parameters=count_parameters(network),
                learned=True,
            )
        )
        on_row()
    return [*rows, *_truths(test, span)]


def exported_answers(directory: Path, recipe: TrainingRecipe, test: Sequence[Example]) -> list[Float32]:
    """The late images of an exported model.

    Raises
    ------
    UsageError
        It was made for input prepared otherwise.
    """
    predictor = load_predictor(directory)
    if predictor.manifest.recipe != recipe.preprocessing:
        raise UsageError(f"{directory.name} wants its input prepared otherwise than recipe {recipe.name} says")
    return [predicted_late(predictor(example.tensor[None])[0], example, recipe) for example in test]


def _answer_of(network: nn.Module, recipe: TrainingRecipe) -> Method:
    return lambda example: predicted_late(run(network, example), example, recipe)


def _span(recipe: TrainingRecipe) -> float:
    low, high = recipe.preprocessing.window
    return high - low if recipe.preprocessing.mode == "fat_global" else 1.0


def _timed(name: str, method: Method, test: Sequence[Example], span: float) -> Row:
    measured, spent = [], []
    for example in test:
        start = time.perf_counter()
        answer = method(example)
        spent.append(time.perf_counter() - start)
        measured.append(measure(answer, example, span))
    return Row(method=name, patients=measured, milliseconds=1000 * float(np.mean(spent)))


def _truths(test: Sequence[Example], span: float) -> list[Row]:
    """Only when every patient has them."""
    each = [known_truth(example) for example in test]
    names = [name for name in each[0] if all(name in known for known in each)] if each else []
    return [
        Row(method=name, patients=[measure(known[name], e, span) for known, e in zip(each, test, strict=True)])
        for name in names
    ]
