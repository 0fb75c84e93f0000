"""From a cohort and models to packs and key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from service.errors import InputRefused, UsageError
from service.inference.onnx import bundled_models_path, find_models, load_predictor
from service.inference.predictor import Predictor
from training.reader_study.allocation import allocate
from training.reader_study.images import PatientPictures, pictures
from training.reader_study.key import REAL, REAL_AGAIN, Key, write_key
from training.reader_study.packs import write_packs
from training.reader_study.visits import find_patients, is_simulated, read_visits

_NAME_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_FEWEST_PATIENTS = 2

Told = Callable[[str], None]


def make_study(
    *,
    cohort: Path,
    models: Sequence[str],
    readers: int,
    grades: tuple[int, ...],
    reread: bool,
    seed: int,
    out: Path,
    key_file: Path,
    tell: Told,
) -> Key:
    """Read every patient, predict, allocate, and write packs and key.

    A patient whose images the service would refuse is left out; the key says why.

    Parameters
    ----------
    models
        Folders, or names of models that come with the package.
    reread
        Show the real images once more, for the agreement of readers with themselves: the ceiling of all others.
    tell
        Called with a line for each patient.

    Raises
    ------
    UsageError
        Packs or key cannot go where they were asked to, models are unknown or given twice, or too few patients
        are left.
    ModelError
        A model is altered or does not run.
    """
    _check_places(out, key_file)
    predictors = _load(models)
    shown: dict[str, PatientPictures] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    simulated = False
    for name, folder in find_patients(cohort).items():
        try:
            visits = read_visits(folder)
            shown[name] = pictures(visits, predictors, REAL)
        except InputRefused as refusal:
            left_out[name] = tuple(str(InputRefused(reason)) for reason in refusal.reasons)
            tell(f"{name}: left out: {refusal}")
            continue
        simulated |= is_simulated(visits)
        tell(f"{name}: {', '.join(shown[name].versions)}")
    if len(shown) < _FEWEST_PATIENTS:
        raise UsageError(
            f"{len(shown)} of {len(shown) + len(left_out)} patients can be shown; a study needs {_FEWEST_PATIENTS}"
        )
    versions = (REAL, *predictors, *((REAL_AGAIN,) if reread else ()))
    key = Key(
        study=_name(seed),
        seed=seed,
        simulated=simulated,
        readers=readers,
        grades=grades,
        versions=versions,
        models={
            name: {**asdict(p.identity), "simulated_training": p.manifest.simulated_training}
            for name, p in predictors.items()
        },
        left_out=left_out,
        warnings={name: patient.warnings for name, patient in shown.items() if patient.warnings},
        items=allocate(sorted(shown), versions, readers, seed),
    )
    write_key(key, key_file)  # first: packs without a key are worth nothing
    write_packs(key, shown, out)
    return key


def _check_places(out: Path, key_file: Path) -> None:
    if key_file.resolve().is_relative_to(out.resolve()):
        raise UsageError(
            f"the key {key_file} would lie within the packs {out}, which readers get; give --key elsewhere"
        )
    if key_file.exists():
        raise UsageError(f"{key_file} exists; it may be the key of another study. Give another --key")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; give --out a new one, so that no pack mixes two studies")


def _load(models: Sequence[str]) -> Mapping[str, Predictor]:
    bundled = {name: directory for name, _, directory in find_models([bundled_models_path()])}
    loaded: dict[str, Predictor] = {}
    for model in models:
        if not Path(model).is_dir() and model not in bundled:
            raise UsageError(f"no model {model!r}; give the folder of one, or one of {_listed(bundled)}")
        predictor = load_predictor(bundled.get(model, Path(model)))
        name = f"{predictor.identity.name}-{predictor.identity.version}"
        if name in loaded:
            raise UsageError(f"model {name} was given twice; two models need two names or versions")
        loaded[name] = predictor
    return loaded


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _name(seed: int) -> str:
    rng = np.random.default_rng([seed, 3])
    return "".join(_NAME_LETTERS[n] for n in rng.integers(0, len(_NAME_LETTERS), 6))
