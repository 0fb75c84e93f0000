"""Figures on held-out simulated patients: the model beside the baselines, per patient and pooled."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from service.imaging.volume import Float32
from training.baselines import copy_baseline, copy_delayed, fit_linear, linear
from training.examples import Example
from training.settings import TrainingRecipe

Rows = dict[str, dict[str, float]]


def evaluate(
    network: nn.Module, recipe: TrainingRecipe, train: Sequence[Example], test: Sequence[Example]
) -> dict[str, Any]:
    """Mean over `test` of MSE and MAE: everywhere, inside brain and CSF, and in CSF alone (fat units).

    `train` serves the linear regression only. Volume models also report how often the truth lies
    inside their interval.
    """
    coefficients = fit_linear(train)
    network.eval()
    methods: dict[str, Callable[[Example], Float32]] = {
        "model": lambda e: predicted_late(run(network, e), e, recipe),
        "copy_delayed": copy_delayed,
        "copy_baseline": copy_baseline,
        "linear_per_voxel": lambda e: linear(e, coefficients),
    }
    rows: Rows = {}
    for name, method in methods.items():
        per_patient = [errors(method(e), e) for e in test]
        rows[name] = {key: float(np.mean([p[key] for p in per_patient])) for key in per_patient[0]}
    answer: dict[str, Any] = {"patients": len(test), "rows": rows}
    if recipe.preprocessing.kind == "volume":
        answer["interval_coverage"] = float(np.mean([_coverage(run(network, e), e) for e in test]))
    return answer


def run(network: nn.Module, example: Example) -> Float32:
    """The network's answer without the batch axis."""
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(example.tensor)[None])[0].numpy())


def predicted_late(answer: Float32, example: Example, recipe: TrainingRecipe) -> Float32:
    """The 24 h image that an answer stands for."""
    if recipe.preprocessing.predicts == "increase":
        answer = copy_baseline(example) + answer[:1]
    return np.asarray(np.maximum(answer, 0), dtype=np.float32)


def errors(late: Float32, example: Example) -> dict[str, float]:
    """MSE and MAE over the paper's whole field, and inside masks."""
    gap = late - example.late
    found = {}
    for name, mask in (("all", np.ones(gap.shape, dtype=bool)), ("head", example.inside), ("csf", example.csf)):
        chosen = gap[mask]
        found[f"mse_{name}"] = float(np.mean(chosen**2)) if chosen.size else 0.0
        found[f"mae_{name}"] = float(np.mean(np.abs(chosen))) if chosen.size else 0.0
    return found


def write_figures(figures: dict[str, Any], path: Path) -> None:
    """As JSON, keys sorted."""
    path.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _coverage(answer: Float32, example: Example) -> float:
    within = (answer[1:2] <= example.target) & (example.target <= answer[2:3])
    return float(within[example.inside].mean())
