"""A training recipe: one TOML file that says everything a model is made from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from service.errors import ConfigError
from service.imaging.recipe_types import PreprocessingRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Which network.

    Attributes
    ----------
    base
        Features at the finest level.
    adds_baseline
        ``unet2d``: the network computes the change and adds the baseline's slices itself, so that its answer is
        still the image. The founding paper's does not.
    """

    kind: Literal["unet2d", "residual3d"]
    base: int
    adds_baseline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How it is fitted.

    Attributes
    ----------
    precision
        Of the convolutions while fitting; bfloat16 halves the time on current CPUs, weights stay float32.
    variants
        Jittered preparations per patient (pose of the grid, registration and plane errors).
    inside_weight, outside_weight
        Of the loss inside the head's CSF and brain, and elsewhere.
    patience
        Epochs without a better validation loss before stopping.
    """

    seed: int
    epochs: int
    batch: int
    learning_rate: float
    loss: Literal["l1", "l2", "pinball"]
    precision: Literal["float32", "bfloat16"]
    variants: int
    inside_weight: float
    outside_weight: float
    patience: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """The whole of a recipe file."""

    name: str
    intended_use: str
    preprocessing: PreprocessingRecipe
    network: NetworkSettings
    training: FitSettings


def load_recipe(which: str) -> TrainingRecipe:
    """A recipe by the name of one that comes with the package, or by path.

    Raises
    ------
    ConfigError
        There is no such file, or it has unknown, missing or unusable keys.
    """
    path = Path(which)
    if path.suffix != ".toml":
        shipped = resources.files("training") / "recipes" / f"{which}.toml"
        if not shipped.is_file():
            names = sorted(f.name.removesuffix(".toml") for f in (resources.files("training") / "recipes").iterdir())
            raise ConfigError([f"no recipe {which!r}; there are {', '.join(names)}, or give the path of a .toml file"])
        text = shipped.read_text(encoding="utf-8")
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError([f"recipe {which} cannot be read: {error.strerror}"]) from error
    try:
        return _from_document(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigError([f"recipe {which}: {error}"]) from error


def _from_document(document: dict[str, Any]) -> TrainingRecipe:
    preprocessing = dict(document.pop("preprocessing"))
    for key in ("time_points", "shape", "window", "quantiles"):
        preprocessing[key] = tuple(preprocessing[key])
    recipe = TrainingRecipe(
        preprocessing=PreprocessingRecipe(**preprocessing),
        network=NetworkSettings(**document.pop("network")),
        training=FitSettings(**document.pop("training")),
        **document,
    )
    is_volume = recipe.preprocessing.kind == "volume"
    if is_volume != (recipe.network.kind == "residual3d"):
        raise TypeError(f"network {recipe.network.kind} does not fit {recipe.preprocessing.kind} input")
    if is_volume != (recipe.training.loss == "pinball"):
        raise TypeError("volume models are fitted with the pinball loss, slice models with l1 or l2")
    return recipe
