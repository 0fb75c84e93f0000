"""The reach of a model, from the patients that it was fitted on; its end, from those that validated it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sklearn.covariance import LedoitWolf

from service.errors import UsageError
from service.inference.reach import Reach, features, reach_from
from training.calibrate import slack
from training.examples import Example

FILE = "reach.json"
_RISK = 0.05
_DIGITS = 8


def find_reach(train: Sequence[Example], validation: Sequence[Example], times: int) -> Reach:
    """Shrunk covariance (Ledoit & Wolf 2004) of the training inputs; the limit is a conformal quantile of the others'.

    A further patient like the n validation patients is refused with probability 5 %, or 1 / (n + 1) if that is more.

    Raises
    ------
    UsageError
        Too few patients.
    """
    if len(train) < 2 or not validation:
        raise UsageError(f"no reach from {len(train)} training and {len(validation)} validation examples")
    each = np.stack([features(example.tensor[None], times) for example in train])
    # shrinkage is towards equal spreads, so the figures are first brought to the same
    scale = np.maximum(each.std(axis=0), 1e-6)
    shrunk = LedoitWolf().fit(each / scale)
    precision = shrunk.precision_ / np.outer(scale, scale)
    draft = Reach(
        mean=tuple(float(v) for v in each.mean(axis=0)),
        precision=tuple(tuple(float(v) for v in row) for row in precision.round(_DIGITS)),
        limit=1.0,
        patients=len(validation),
    )
    distances = sorted(draft.distance(example.tensor[None], times) for example in validation)
    return replace(draft, limit=distances[slack(len(distances), _RISK).rank - 1])


def write_reach(reach: Reach, run: Path) -> None:
    """Beside the run's weights, where `export` looks for it."""
    (run / FILE).write_text(json.dumps(asdict(reach)) + "\n", encoding="utf-8")


def read_reach(run: Path) -> Reach | None:
    """Of a run; None when it has none."""
    path = run / FILE
    return reach_from(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
