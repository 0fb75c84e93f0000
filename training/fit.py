"""Fitting: seeded, resumable after every epoch, stopped by the validation loss."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from service.imaging.volume import Float32
from training.augment import augment
from training.examples import Example
from training.losses import pinball, weighted_l1, weighted_l2
from training.model import build
from training.settings import FitSettings, TrainingRecipe

_MEAN_DECAY = 0.98  # about 50 steps
_Parts = Mapping[str, nn.Module | torch.optim.Optimizer]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """Where the best weights lie, and how they came about."""

    best: Path
    epochs: int
    best_epoch: int
    best_validation_loss: float
    minutes: float


def fit(
    recipe: TrainingRecipe,
    train: Sequence[Example],
    validation: Sequence[Example],
    run: Path,
    *,
    threads: int = 1,
    max_minutes: float | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Train until the recipe's epochs, its patience or `max_minutes` run out.

    A run that was broken off goes on from its last whole epoch (``run/last.pt``). The time limit
    anneals the learning rate to zero at whichever end comes first.
    """
    if not train or not validation:
        raise ValueError(f"nothing to fit: {len(train)} training and {len(validation)} validation examples")
    torch.set_num_threads(threads)
    run.mkdir(parents=True, exist_ok=True)
    settings = recipe.training
    torch.manual_seed(settings.seed)
    network = build(recipe)
    # the running mean of the weights is what is judged and kept: steadier than any one step's
    average = get_ema_multi_avg_fn(_MEAN_DECAY)  # type: ignore[no-untyped-call] # torch does not annotate it
    mean = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    parts: _Parts = {"network": network, "mean": mean, "optimiser": optimiser}
    state = _resume(run / "last.pt", parts)
    start, spent_before = time.monotonic(), float(state["minutes"])
    task = progress.add_task(recipe.name, total=settings.epochs, completed=state["epoch"]) if progress else None
    spent = spent_before
    while state["epoch"] < settings.epochs and state["epoch"] - state["best_epoch"] <= settings.patience:
        done = state["epoch"] / settings.epochs
        if max_minutes:
            done = max(done, spent / max_minutes)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        # tied to the epoch, so that a resumed run sees what an unbroken one would
        torch.manual_seed(settings.seed * 100_003 + state["epoch"])
        training_loss = _epoch(network, mean, optimiser, train, recipe)
        loss = evaluate_loss(mean, validation, recipe)
        state["epoch"] += 1
        spent = spent_before + (time.monotonic() - start) / 60
        if loss < state["best"]:
            state.update(best=loss, best_epoch=state["epoch"])
            torch.save(mean.module.state_dict(), run / "best.pt")
        state["minutes"] = spent
        _save(run / "last.pt", parts, state)
        with (run / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(
                json.dumps({"epoch": state["epoch"], "train": training_loss, "validation": loss, "minutes": spent})
                + "\n"
            )
        if progress and task is not None:
            progress.update(task, completed=state["epoch"], description=f"{recipe.name} val {loss:.5f}")
    return FitResult(
        best=run / "best.pt",
        epochs=state["epoch"],
        best_epoch=state["best_epoch"],
        best_validation_loss=state["best"],
        minutes=spent,
    )


def loss_of(recipe: TrainingRecipe, answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The recipe's loss."""
    if recipe.training.loss == "pinball":
        return pinball(answer, target, weight, recipe.preprocessing.quantiles)
    return (weighted_l2 if recipe.training.loss == "l2" else weighted_l1)(answer, target, weight)


def evaluate_loss(network: nn.Module, examples: Sequence[Example], recipe: TrainingRecipe) -> float:
    """Mean loss without augmentation."""
    network.eval()
    with torch.no_grad():
        losses = [float(loss_of(recipe, network(x), y, w)) for x, y, w in (_batch([e], recipe) for e in examples)]
    return sum(losses) / len(losses)


def _epoch(
    network: nn.Module,
    mean: AveragedModel,
    optimiser: torch.optim.Optimizer,
    examples: Sequence[Example],
    recipe: TrainingRecipe,
) -> float:
    network.train()
    order = torch.randperm(len(examples)).tolist()
    size = recipe.training.batch
    per_time = examples[0].tensor.shape[0] // len(recipe.preprocessing.time_points)
    losses = []
    for first in range(0, len(order), size):
        x, y, w = augment(*_batch([examples[i] for i in order[first : first + size]], recipe), per_time)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.training.precision == "bfloat16"):
            answer = network(x)
        loss = loss_of(recipe, answer.float(), y, w)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch does not annotate it
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        mean.update_parameters(network)
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def _batch(examples: Sequence[Example], recipe: TrainingRecipe) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.stack([torch.from_numpy(e.tensor) for e in examples])
    y = torch.stack([torch.from_numpy(e.target) for e in examples])
    return x, y, torch.stack([torch.from_numpy(loss_weight(e, recipe.training)) for e in examples])


def loss_weight(example: Example, settings: FitSettings) -> Float32:
    """Of every voxel of the answer, ``(C, ...)``."""
    weight = np.where(example.csf | example.brain, settings.inside_weight, settings.outside_weight)
    ventricles = np.zeros_like(example.csf) if example.ventricles is None else example.ventricles
    weight[example.csf & ~ventricles] = settings.inside_weight * settings.csf_factor
    weight[ventricles] = settings.inside_weight * settings.ventricle_factor
    return np.asarray(weight, dtype=np.float32)


def _resume(path: Path, parts: _Parts) -> dict[str, Any]:
    if not path.exists():
        return {"epoch": 0, "best": math.inf, "best_epoch": 0, "minutes": 0.0}
    stored = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(stored[name])
    return dict(stored["state"])


def _save(path: Path, parts: _Parts, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".part")
    torch.save({**{name: part.state_dict() for name, part in parts.items()}, "state": state}, partial)
    partial.replace(path)
