"""torch -> ``<name>-<version>/``: model.onnx, manifest.json, parity.npz, MODEL_CARD.md."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from service.imaging.volume import Float32
from service.inference.calibration import Calibration
from service.inference.manifest import ModelManifest
from service.inference.onnx import load_predictor, verify_parity
from service.inference.reach import Reach
from training.model import count_parameters
from training.model_card import model_card
from training.settings import TrainingRecipe

OPSET = 18
_TOLERANCE = 1e-4
_PARITY_STRIDE = 3


def export(
    network: nn.Module,
    recipe: TrainingRecipe,
    example: Float32,
    *,
    version: str,
    out: Path,
    simulated: bool,
    training: dict[str, Any],
    metrics: dict[str, Any],
    calibration: Calibration | None = None,
    reach: Reach | None = None,
) -> Path:
    """Write the model directory and prove it: checker, hash, and torch's answer replayed by onnxruntime.

    Parameters
    ----------
    example
        One prepared input ``(1, C, ...)``; goes into parity.npz, rounded to 1/256 so that it compresses; of the
        answer every third element along each spatial axis is kept.
    simulated
        Whether any patient that the model was fitted on is; every output of the model then says so.

    Raises
    ------
    ModelError
        onnxruntime does not reproduce torch within 1e-4.
    """
    directory = out / f"{recipe.name}-{version}"
    directory.mkdir(parents=True, exist_ok=True)
    network.eval()
    given = torch.from_numpy(np.round(example * 256) / 256).float()
    with torch.no_grad():
        expected = network(given)
    path = directory / "model.onnx"
    with warnings.catch_warnings():
        # it warns of fixed shapes, which are wanted, and of a newer exporter, which needs a further package
        warnings.simplefilter("ignore")
        _trace(network, given, path)
    onnx.checker.check_model(str(path), full_check=True)
    manifest = ModelManifest(
        name=recipe.name,
        version=version,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        opset=OPSET,
        input_name="input",
        input_shape=tuple(given.shape),
        output_name="output",
        output_shape=tuple(expected.shape),
        recipe=recipe.preprocessing,
        simulated_training=simulated,
        intended_use=recipe.intended_use,
        parity_tolerance=_TOLERANCE,
        target=recipe.visits.target,
        calibration=calibration,
        reach=reach,
        training={**training, "parameters": count_parameters(network), "torch": torch.__version__.split("+")[0]},
        metrics=metrics,
    )
    (directory / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    thinned = expected.numpy()[(slice(None), slice(None), *[slice(None, None, _PARITY_STRIDE)] * (expected.ndim - 2))]
    np.savez_compressed(directory / "parity.npz", input=given.numpy(), output=thinned, stride=_PARITY_STRIDE)
    (directory / "MODEL_CARD.md").write_text(model_card(manifest, recipe), encoding="utf-8")
    verify_parity(directory, load_predictor(directory))
    return directory


def _trace(network: nn.Module, given: torch.Tensor, path: Path) -> None:
    torch.onnx.export(
        network, (given,), str(path), input_names=["input"], output_names=["output"],
        opset_version=OPSET, dynamo=False, do_constant_folding=True,
    )  # fmt: skip
