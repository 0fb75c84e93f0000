"""What any model must beat, from doing nothing to a regression that knows the tissue; each gives the late image.

Answers are in the model's scale, ``(channels per time, ...)``, like `Example.late`. What is fitted is fitted on the
training patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.imaging.volume import Float32, Float64, Mask
from training.baselines import copy_baseline, copy_delayed, fit_linear, linear
from training.examples import Example

Method = Callable[[Example], Float32]

BASELINE_COPY = "copy the baseline"
PERSISTENCE = "persistence (copy the last input)"
MEAN_INCREASE = "baseline + mean increase of the cohort"
LINEAR = "linear per voxel"
PATCH_RIDGE = "ridge on patches"
TISSUE_AFFINE = "affine per tissue (tissue known)"
RESCAN = "noise floor: a second scan (simulated)"
ORACLE = "oracle: true tracer, no noise (simulated)"

_RIDGE = 1e-3  # of the mean of the normal matrix's diagonal; for two or three numbers a tissue, next to none
_HARDLY = 1e-6
_STRIDE = 3  # every third voxel is enough for some sixty coefficients


def plain_methods(train: Sequence[Example]) -> dict[str, Method]:
    """All that need no network, fitted on `train`."""
    coefficients = fit_linear(train)
    mean = np.mean([e.late - e.before for e in train], axis=0, dtype=np.float64).astype(np.float32)
    patches = _fit(train, _patch_features, _inside, _RIDGE)
    tissues = {name: _fit(train, _point_features, pick, _HARDLY) for name, pick in _TISSUES.items()}
    return {
        BASELINE_COPY: copy_baseline,
        PERSISTENCE: copy_delayed,
        MEAN_INCREASE: lambda e: np.maximum(e.before + mean, 0),
        LINEAR: lambda e: linear(e, coefficients),
        PATCH_RIDGE: lambda e: _apply(patches, _patch_features(e)),
        TISSUE_AFFINE: lambda e: _by_tissue(e, tissues),
    }


def known_truth(example: Example) -> dict[str, Float32]:
    """Rows that a simulator alone can give."""
    found = {}
    if example.rescan is not None:
        found[RESCAN] = example.rescan
    if example.clean is not None:
        found[ORACLE] = example.clean
    return found


def _point_features(example: Example) -> Float32:
    """Every input, and 1."""
    times = example.tensor.reshape(-1, *example.late.shape)
    return np.concatenate([times, np.ones_like(times[:1])])


def _patch_features(example: Example) -> Float32:
    """Every input's 3 x 3 (x 3) neighbourhood, squares and products of the centres, and 1."""
    times = example.tensor.reshape(-1, *example.late.shape)
    axes = tuple(range(2, times.ndim))
    found = []
    for offset in np.ndindex(*[3] * len(axes)):
        shift = tuple(int(o) - 1 for o in offset)
        found.append(np.roll(times, shift, axes))
    pairs = [times[i] * times[j] for i in range(len(times)) for j in range(i, len(times))]
    return np.concatenate([*found, np.stack(pairs), np.ones_like(times[:1])])


def _fit(
    examples: Sequence[Example], features: Callable[[Example], Float32], where: Callable[[Example], Mask], ridge: float
) -> Float64:
    normal: Float64 | None = None
    right: Float64 | None = None
    for example in examples:
        mask = where(example)
        x = features(example)[:, mask][:, ::_STRIDE].astype(np.float64)
        y = example.late[mask][::_STRIDE]
        normal = x @ x.T if normal is None else normal + x @ x.T
        right = x @ y if right is None else right + x @ y
    if normal is None or right is None:
        raise ValueError("nothing to fit")
    weight = max(ridge * float(np.diag(normal).mean()), _HARDLY)  # a tissue may be in nobody
    return np.asarray(np.linalg.solve(normal + weight * np.eye(len(normal)), right))


def _apply(coefficients: Float64, features: Float32) -> Float32:
    return np.asarray(np.maximum(np.tensordot(coefficients.astype(np.float32), features, axes=1), 0), dtype=np.float32)


def _by_tissue(example: Example, tissues: Mapping[str, Float64]) -> Float32:
    features, answer = _point_features(example), copy_baseline(example).copy()
    for name, pick in _TISSUES.items():
        mask = pick(example)
        answer[mask] = np.maximum(np.tensordot(tissues[name].astype(np.float32), features[:, mask], axes=1), 0)
    return answer


def _inside(example: Example) -> Mask:
    return example.before > 0.02


def _ventricles(example: Example) -> Mask:
    return np.zeros_like(example.csf) if example.ventricles is None else example.ventricles


_TISSUES: Mapping[str, Callable[[Example], Mask]] = {
    "ventricles": _ventricles,
    "csf": lambda e: e.csf & ~_ventricles(e),
    "brain": lambda e: e.brain & ~e.csf & ~_ventricles(e),
    "other": lambda e: ~(e.brain | e.csf | _ventricles(e)),
}
