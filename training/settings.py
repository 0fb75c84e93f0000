"""A training recipe: one TOML file that says everything a model is made from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from service.errors import ConfigError
from service.imaging.recipe_types import PreprocessingRecipe
from training.windows import BASELINE, load_windows

DELAYED = "delayed"


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
    csf_factor, ventricle_factor
        By how much a voxel of fluid, and one of the lateral ventricles, counts more than one of brain: the ventricles
        are a fiftieth of the head, and carry the reflux grade.
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
    csf_factor: float = 1.0
    ventricle_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitSettings:
    """Which visits a model is given and which one it is to foretell.

    Attributes
    ----------
    windows
        The set of windows that visits are named by, see `training.windows.load_windows`.
    delayed
        Window of the time point that recipes, and the service, call ``delayed``.
    target
        Window of the image that is predicted.
    """

    windows: str = "results"
    delayed: str = "1-2h"
    target: str = "24h"

    def window_of(self, time_point: str) -> str:
        """Of one of the recipe's time points: ``baseline``, ``delayed``, or a window by its own name."""
        return self.delayed if time_point == DELAYED else time_point


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """The whole of a recipe file.

    Attributes
    ----------
    release
        Models of this recipe are meant for use: `compare` fails when they do not beat the plain baselines.
    """

    name: str
    intended_use: str
    release: bool = False
    visits: VisitSettings = VisitSettings()
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
            text = path.read_text(encoding="utf-8-sig")
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
        visits=VisitSettings(**document.pop("visits", {})),
        **document,
    )
    is_volume = recipe.preprocessing.kind == "volume"
    if is_volume != (recipe.network.kind == "residual3d"):
        raise TypeError(f"network {recipe.network.kind} does not fit {recipe.preprocessing.kind} input")
    if is_volume != (recipe.training.loss == "pinball"):
        raise TypeError("volume models are fitted with the pinball loss, slice models with l1 or l2")
    _check_visits(recipe)
    return recipe


def _check_visits(recipe: TrainingRecipe) -> None:
    visits, given = recipe.visits, recipe.preprocessing.time_points
    names = load_windows(visits.windows).names
    wanted = [visits.window_of(point) for point in given]
    unknown = [name for name in (*wanted, visits.target) if name not in names]
    if unknown:
        raise TypeError(f"no window {', '.join(unknown)}; accepted: delayed, or one of {', '.join(names)}")
    if given[0] != BASELINE:
        raise TypeError(f"the first time point is {given[0]!r}; accepted: baseline, which answers are told against")
    if any(names.index(name) >= names.index(visits.target) for name in wanted):
        raise TypeError(f"a model of {visits.target} may only be given visits before it, not {', '.join(wanted)}")
