"""manifest.json of a model directory: what the model is and how its input must be made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from service.errors import ModelError
from service.imaging.recipe_types import PreprocessingRecipe
from service.inference.calibration import Calibration, calibration_from
from service.inference.reach import Reach, reach_from

SCHEMA_VERSION = 1
"""Raise when a field changes meaning; older software must then refuse the model."""

_MODES = ("fat_global", "slice_minmax")
_KINDS = ("volume", "slice_pair")
_SERVED_TARGET = "24h"
_SERVED_INPUTS = frozenset({"baseline", "delayed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """The model's own statement about itself.

    Attributes
    ----------
    name, version
        The directory is called ``<name>-<version>``.
    sha256
        Of model.onnx, lower-case hex.
    opset
        ONNX operator set.
    input_name, input_shape, output_name, output_shape
        The graph's only input and output.
    recipe
        How the input is prepared; the service reads it nowhere else.
    simulated_training
        True when any training data were simulated; every output then says so.
    intended_use
        One sentence, shown in reports.
    parity_tolerance
        Largest absolute difference allowed when parity.npz is replayed.
    target
        Name of the visit that is foretold.
    calibration
        Of the interval; None when it is the model's own.
    reach
        Beyond which an input is refused as unlike those that the model was made from; None when the model does not say.
    training, metrics
        Facts for the card: cohort, seeds, versions, figures.
    """

    name: str
    version: str
    sha256: str
    opset: int
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    recipe: PreprocessingRecipe
    simulated_training: bool
    intended_use: str
    parity_tolerance: float
    target: str = _SERVED_TARGET
    calibration: Calibration | None = None
    reach: Reach | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Stable text for manifest.json."""
        document = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def check_served(manifest: ModelManifest) -> None:
    """Whether the service can use the model: it has two scans to give, and calls every answer the 24 h image.

    Raises
    ------
    ModelError
        It cannot.
    """
    if manifest.target != _SERVED_TARGET:
        raise ModelError(
            f"model {manifest.name} foretells {manifest.target}; the service files 24 h images only; "
            "choose another by models.default"
        )
    further = set(manifest.recipe.time_points) - _SERVED_INPUTS
    if further:
        raise ModelError(
            f"model {manifest.name} wants the visits {', '.join(sorted(further))}; the service has a baseline and one "
            "delayed scan; choose another model by models.default"
        )


def load_manifest(directory: Path) -> ModelManifest:
    """Read and check ``directory/manifest.json``.

    Raises
    ------
    ModelError
        The file is missing, is not JSON, or says something this software does not know.
    """
    path = directory / "manifest.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"no manifest.json in model directory {directory.name}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"manifest.json of {directory.name} cannot be read: {error}") from error
    try:
        return _from_document(document)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"manifest.json of {directory.name} is not valid: {error!r}") from error


def _from_document(document: dict[str, Any]) -> ModelManifest:
    found = document.pop("schema_version")
    if found != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {found}, this software reads {SCHEMA_VERSION}")
    recipe = dict(document.pop("recipe"))
    if recipe["mode"] not in _MODES or recipe["kind"] not in _KINDS:
        raise ValueError(f"recipe mode/kind {recipe['mode']}/{recipe['kind']} not in {_MODES}/{_KINDS}")
    for key in ("time_points", "shape", "window", "quantiles"):
        recipe[key] = tuple(recipe[key])
    for key in ("input_shape", "output_shape"):
        document[key] = tuple(document[key])
    calibration = document.pop("calibration", None)
    if calibration is not None:
        calibration = calibration_from(calibration, len(recipe["quantiles"]))
    reach = document.pop("reach", None)
    return ModelManifest(
        recipe=PreprocessingRecipe(**recipe),
        calibration=calibration,
        reach=None if reach is None else reach_from(reach),
        **document,
    )
