"""Whether a model may be released: it must beat copying the last input and a regression, and show that it does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.comparison.methods import LINEAR, PERSISTENCE
from training.comparison.table import Row, paired_difference, seeds_of, summary

MUST_BEAT = (PERSISTENCE, LINEAR)
FEWEST_SEEDS = 3


def objections(learned: Sequence[Row], others: Sequence[Row]) -> list[str]:
    """Why not; empty when the model may be released.

    It must have a smaller MAE in CSF than each of `MUST_BEAT`, with the whole 95 % interval of the paired difference
    below zero, and agree better with the reflux grades of the real images (weighted kappa; both perfect is a draw
    that passes), better than chance at any rate: a baseline whose images nobody can grade is no excuse. What cannot be
    computed does not pass.
    """
    found = []
    if len(learned) < FEWEST_SEEDS:
        found.append(f"{len(learned)} seeds; at least {FEWEST_SEEDS} show how much is chance")
    if not learned:
        return found
    kappa = seeds_of(learned)["grade_kappa"][0]
    for name in MUST_BEAT:
        other = next((row for row in others if row.method == name), None)
        if other is None:
            found.append(f"'{name}' is not in the table")
            continue
        gap = paired_difference(learned, other, "mae_csf")
        if not (gap.high < 0):
            found.append(
                f"MAE in CSF: {gap.value:+.4f} against '{name}', interval {gap.low:+.4f} to {gap.high:+.4f}; "
                "the whole interval must be below zero"
            )
        theirs = summary(other)["grade_kappa"]
        theirs = max(0.0, theirs) if not np.isnan(theirs) else 0.0  # images that cannot be graded agree by chance
        if np.isnan(kappa):
            found.append("reflux agreement cannot be computed: too few patients that can be graded, or all alike")
        elif not (kappa > theirs or kappa == theirs == 1):
            found.append(f"reflux agreement: weighted kappa {kappa:.2f}; more than {theirs:.2f} is wanted ('{name}')")
    return list(dict.fromkeys(found))
