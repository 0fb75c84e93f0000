"""Who trains, who validates, who is tested: by patient, seeded, in the founding paper's proportions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_PAPER_TEST, _PAPER_ALL = 31, 136
_VALIDATION = 0.2  # of the training patients


def split_patients(names: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Of 136 patients 31 test and 105 train, a fifth of whom validate; other numbers alike, at least one each."""
    n = len(names)
    order = [names[i] for i in np.random.default_rng([seed, 24]).permutation(n)]
    n_test = max(1, round(n * _PAPER_TEST / _PAPER_ALL))
    n_val = max(1, round(_VALIDATION * (n - n_test)))
    parts = {"test": order[:n_test], "val": order[n_test : n_test + n_val], "train": order[n_test + n_val :]}
    return {part: sorted(members) for part, members in parts.items()}
