"""Figure 6: transition matrices by reader, from what ``reader-study score`` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from service.errors import UsageError
from training.figures.label import SIMULATED, save

Rows = list[list[object]]


def draw_matrices(agreement: Path, path: Path) -> Rows:
    """A row of panels a model, a panel a reader: rows real, columns predicted; returns the table of counts.

    Raises
    ------
    UsageError
        `agreement` is no agreement.json.
    """
    document = _read(agreement)
    readings = document["readings"]
    versions = list(dict.fromkeys(reading["version"] for reading in readings))
    readers = sorted({reading["reader"] for reading in readings})
    figure = Figure(figsize=(3.1 * len(readers), 3.3 * len(versions) + 0.4), layout="constrained")
    axes = figure.subplots(len(versions), len(readers), squeeze=False)
    rows: Rows = [["version", "reader", "grade_real", "grade_predicted", "count", "of_row"]]
    for reading in readings:
        table, axis = reading["transitions"], axes[versions.index(reading["version"])][readers.index(reading["reader"])]
        counts = np.array(table["counts"], dtype=float)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (real, predicted), count in np.ndenumerate(counts):
            share = f"{shares[real, predicted]:.0%}\n" if totals[real] else ""
            axis.text(predicted, real, f"{share}{count:g} of {totals[real, 0]:g}" if totals[real] else "none",
                      ha="center", va="center", fontsize=7,
                      color="white" if shares[real, predicted] > 0.6 else "black")  # fmt: skip
            labels = table["labels"]
            rows.append([reading["version"], reading["reader"], labels[real], labels[predicted], int(count),
                         int(totals[real, 0])])  # fmt: skip
        axis.set_xticks(range(len(table["labels"])), table["labels"])
        axis.set_yticks(range(len(table["labels"])), table["labels"])
        axis.set(xlabel="grade on predicted", ylabel="grade on real")
        axis.set_title(f"Reader {reading['reader']}, {reading['version']}", fontsize=9)
    said = SIMULATED if document["simulated"] else f"Study {document['study']}; not for diagnosis"
    figure.suptitle(said, fontsize=8)
    save(figure, path, said)
    return rows


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not document["readings"] or "simulated" not in document:
            raise KeyError("readings")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no agreement.json of `csf24-training reader-study score`") from error
    return document
