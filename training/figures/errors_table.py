"""Table 2: errors of every run on its held-out patients, beside those of copying an input and of a regression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from service.errors import UsageError
from training.figures.label import label_of
from training.figures.pictures import read_pictures

Rows = list[list[object]]
_COLUMNS = ("mse_all", "mae_all", "mse_head", "mae_head", "mse_csf", "mae_csf")
_HEADINGS = ("MSE", "MAE", "MSE, brain + CSF", "MAE, brain + CSF", "MSE, CSF", "MAE, CSF")


def errors_table(runs: Sequence[Path]) -> Rows:
    """A line for each run and method.

    Raises
    ------
    UsageError
        A run was not evaluated.
    """
    rows: Rows = [["run", "given", "loss", "method", "patients", *_HEADINGS]]
    for run in runs:
        known = read_pictures(run)
        try:
            figures = json.loads((run / "figures.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{run} has no figures.json; `csf24-training evaluate` writes it") from error
        for method, errors in figures["rows"].items():
            loss = known.loss if method == "model" else ""
            values = [errors[name] for name in _COLUMNS]
            rows.append([run.name, " + ".join(known.inputs), loss, method, figures["patients"], *values])
    return rows


def as_markdown(rows: Rows, runs: Sequence[Path]) -> str:
    """With the label, errors to three digits."""
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    note = "Compare lines of one run: other inputs, patients or scales are another task."
    return f"**{label_of(runs)}.** {note}\n\n" + "\n".join(lines) + "\n"
