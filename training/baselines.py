"""What any model must beat: no change, copying the delayed image, and a per-voxel regression.

Each answers with the 24 h image in the model's scale, ``(channels per time, ...)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.imaging.volume import Float32, Float64
from training.examples import Example


def copy_baseline(example: Example) -> Float32:
    """Nothing happens."""
    return example.before


def copy_delayed(example: Example) -> Float32:
    """Persistence: 24 h looks like the 1-2 h image."""
    return example.tensor[-len(example.late) :]


def fit_linear(examples: Sequence[Example]) -> Float64:
    """Least squares ``late ~ baseline, delayed, baseline^2, baseline*delayed, 1`` over voxels with any signal."""
    normal, right = np.zeros((5, 5)), np.zeros(5)
    for example in examples:
        features = _features(example).reshape(5, -1).astype(np.float64)
        used = features[0] > 0.02
        features, late = features[:, used], example.late.ravel()[used]
        normal += features @ features.T
        right += features @ late
    return np.asarray(np.linalg.solve(normal + 1e-6 * np.eye(5), right))


def linear(example: Example, coefficients: Float64) -> Float32:
    """The fitted regression's answer."""
    return np.tensordot(coefficients.astype(np.float32), _features(example), axes=1)


def _features(example: Example) -> Float32:
    before, after = copy_baseline(example), copy_delayed(example)
    return np.stack([before, after, before**2, before * after, np.ones_like(before)])
