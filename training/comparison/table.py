"""The table: a line for each method, the same test patients in all, intervals by drawing patients."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.imaging.volume import Float64
from training.comparison.measures import ERRORS, REGIONS, SCORES
from training.reader_study.agreement import cohen
from training.reader_study.bootstrap import Estimate, estimates

DRAWS, SEED = 2000, 24
IMAGE_COLUMNS = (*(f"{error}_{region}" for region in REGIONS for error in ERRORS), "bias_csf", "bias_ventricles")
REFLUX_COLUMNS = ("index_mae", "grade_accuracy", "grade_kappa")
_GRADES = tuple(int(score) for score in SCORES.values())
_SHOWN = (
    *("mse_whole", "mae_whole", "psnr_whole", "ssim_whole", "mae_intracranial", "ssim_intracranial"),
    *("mse_csf", "mae_csf", "ssim_csf", "mae_ventricles", "bias_csf", "bias_ventricles"),
    *(*REFLUX_COLUMNS, "ms", "parameters"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A method on every test patient.

    Attributes
    ----------
    patients
        What `measure` gave, in the order of the patients.
    milliseconds
        Per patient, mean.
    parameters
        Fitted weights of a network; None for what has none.
    learned
        Whether it is a network; several seeds of it are several rows.
    """

    method: str
    patients: Sequence[Mapping[str, float]]
    milliseconds: float | None = None
    parameters: int | None = None
    learned: bool = False

    def column(self, name: str) -> Float64:
        """One measure of every patient."""
        return np.array([patient[name] for patient in self.patients], dtype=np.float64)


def summary(row: Row) -> dict[str, float]:
    """Means over patients, and agreement of the reflux grades with those of the real images."""
    found = {name: _mean(row.column(name)) for name in IMAGE_COLUMNS}
    return found | {name: figure(_grades(row)) for name, figure in _FIGURES.items()}


def seeds_of(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the seeds of a network, of every column."""
    each = [summary(row) for row in rows]
    return {
        name: (
            _mean(np.array([s[name] for s in each])),
            float(np.std([s[name] for s in each], ddof=min(1, len(each) - 1))),
        )
        for name in each[0]
    }


def paired_difference(rows: Sequence[Row], other: Row, column: str) -> Estimate:
    """Mean over patients of (network, averaged over its seeds) - other; 95 % interval by drawing patients."""
    ours = np.mean([row.column(column) for row in rows], axis=0)
    gaps = (ours - other.column(column))[:, None]
    return estimates(gaps, {"gap": lambda drawn: _mean(drawn[:, 0])}, draws=DRAWS, seed=SEED)["gap"]


def _grades(row: Row) -> Float64:
    return np.stack([row.column(name) for name in ("grade_real", "grade", "index_real", "index")], axis=1)


def _accuracy(drawn: Float64) -> float:
    known = drawn[~np.isnan(drawn[:, 0])]  # an image that cannot be graded is a miss where the real one can
    return float((known[:, 0] == known[:, 1]).mean()) if len(known) else float("nan")


_FIGURES: Mapping[str, Callable[[Float64], float]] = {
    "index_mae": lambda drawn: _mean(np.abs(drawn[:, 2] - drawn[:, 3])),
    "grade_accuracy": _accuracy,
    "grade_kappa": lambda drawn: cohen(drawn[:, :2], _GRADES, "quadratic"),
}


def reflux_interval(row: Row) -> dict[str, Estimate]:
    """Of the three reflux columns."""
    return estimates(_grades(row), _FIGURES, draws=DRAWS, seed=SEED)


def _mean(values: Float64) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def write_tables(rows: Sequence[Row], names: Sequence[str], label: str, out: Path) -> str:
    """``table.csv``, ``table.md``, ``patients.csv``; returns the Markdown.

    Parameters
    ----------
    names
        Of the test patients.
    label
        What every table says of itself.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines: list[list[object]] = []
    for row in rows:
        extra = {"ms": row.milliseconds, "parameters": row.parameters}
        lines.append([row.method, len(names), *({**summary(row), **extra}[c] for c in _columns())])
    learned = [row for row in rows if row.learned]
    if len(learned) > 1:
        spread = seeds_of(learned)
        lines.append(
            [f"network, mean of {len(learned)} seeds", len(names), *(spread.get(c, ("", ""))[0] for c in _columns())]
        )
        lines.append(["standard deviation over seeds", len(names), *(spread.get(c, ("", ""))[1] for c in _columns())])
    _write_csv(out / "table.csv", [["method", "patients", *_columns()], *lines], label)
    per_patient = [
        [row.method, name, *(patient[c] for c in patient)]
        for row in rows
        for name, patient in zip(names, row.patients, strict=True)
    ]
    _write_csv(out / "patients.csv", [["method", "patient", *rows[0].patients[0]], *per_patient], label)
    text = _markdown(lines, rows, learned, label, len(names))
    (out / "table.md").write_text(text, encoding="utf-8")
    return text


def _columns() -> tuple[str, ...]:
    return (*IMAGE_COLUMNS, *REFLUX_COLUMNS, "ms", "parameters")


def _markdown(
    lines: Sequence[Sequence[object]], rows: Sequence[Row], learned: Sequence[Row], label: str, patients: int
) -> str:
    places = [_columns().index(name) + 2 for name in _SHOWN]
    text = [
        f"**{label}.** {patients} test patients, the same in every line; means over patients, in the model's scale.",
        "",
        "| method | " + " | ".join(name.replace("_", " ") for name in _SHOWN) + " |",
        "|---" * (len(_SHOWN) + 1) + "|",
        *("| " + " | ".join([str(line[0]), *(_digits(line[p]) for p in places)]) + " |" for line in lines),
    ]
    if learned:
        text += ["", "Network (mean of its seeds) minus other, paired over patients, 95 % interval:", ""]
        text += ["| other | MAE, CSF | MAE, intracranial | MSE, whole |", "|---|---|---|---|"]
        for row in rows:
            if not row.learned:
                gaps = [paired_difference(learned, row, c) for c in ("mae_csf", "mae_intracranial", "mse_whole")]
                text.append("| " + " | ".join([row.method, *map(_interval, gaps)]) + " |")
    if any(not np.isnan(row.column("index_real")).all() for row in rows):
        text += ["", "Reflux against the real late image, 95 % interval over patients:", ""]
        text += ["| method | index MAE | grade accuracy | weighted kappa |", "|---|---|---|---|"]
        for row in rows:
            found = reflux_interval(row)
            text.append("| " + " | ".join([row.method, *(_interval(found[c]) for c in REFLUX_COLUMNS)]) + " |")
    return "\n".join(text) + "\n"


def _interval(found: Estimate) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def _digits(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, int):
        return f"{value}"
    return "" if np.isnan(float(str(value))) else f"{float(str(value)):.3g}"


def _write_csv(path: Path, rows: Sequence[Sequence[object]], label: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], "data"])
        writer.writerows([[*row, label] for row in rows[1:]])
