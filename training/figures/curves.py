"""Figure A1: loss by epoch while fitting. The paper's has training and test set; ours training and validation set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from service.errors import UsageError
from training.figures.label import label_of, save

Rows = list[list[object]]


def draw_curves(runs: Sequence[Path], path: Path) -> Rows:
    """One panel a run; returns the table of losses.

    Raises
    ------
    UsageError
        A run has no log.
    """
    figure = Figure(figsize=(4.2 * len(runs), 3.4), layout="constrained")
    rows: Rows = [["run", "epoch", "training", "validation"]]
    for axis, run in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
        epochs = _log(run)
        for name, label, style in (("train", "training, augmented", "-"), ("validation", "validation", "--")):
            axis.plot([e["epoch"] for e in epochs], [e[name] for e in epochs], style, label=label)
        best = min(epochs, key=lambda e: e["validation"])
        axis.axvline(best["epoch"], color="grey", linewidth=0.8, label=f"best, epoch {best['epoch']:g}")
        axis.set(xlabel="epoch", ylabel="loss", title=run.name, yscale="log")
        axis.legend(fontsize=8)
        rows += [[run.name, int(e["epoch"]), e["train"], e["validation"]] for e in epochs]
    said = label_of(runs)
    figure.suptitle(said, fontsize=8)
    save(figure, path, said)
    return rows


def _log(run: Path) -> list[dict[str, float]]:
    try:
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{run} has no log.jsonl; `csf24-training fit` writes it") from error
    return [json.loads(line) for line in lines]
