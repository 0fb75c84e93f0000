"""Figures 4 and 5: a given, b real, c predicted (l2), d |b - c|, e predicted (l1), f |b - e|."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from service.errors import UsageError
from service.imaging.volume import Float32
from training.figures.label import label, save
from training.figures.pictures import PLANES, RunPictures

Rows = list[list[object]]
_ORDER = ("l2", "l1", "pinball")
_CELL_INCH = 2.1
_GIVEN = {"baseline": "before injection", "delayed": "1-2 h"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One column of one row."""

    title: str
    picture: Float32
    is_difference: bool


def panels(runs: Sequence[RunPictures], case: str, plane: str, given: str) -> list[Panel]:
    """The columns a to f (a to d with one run) of a case's row, in the paper's order: l2 before l1."""
    runs = in_order(runs)
    place = runs[0].cases.index(case)
    real = runs[0].shown(place, plane, "real")
    found = [
        Panel(title=f"a: {_GIVEN.get(given, given)}", picture=runs[0].shown(place, plane, given), is_difference=False),
        Panel(title="b: 24 h, real", picture=real, is_difference=False),
    ]
    for run in runs:
        predicted = run.shown(run.cases.index(case), plane, "predicted")
        letter, next_letter = (string.ascii_lowercase[len(found) + n] for n in range(2))
        found += [
            Panel(title=f"{letter}: 24 h, predicted ({run.loss})", picture=predicted, is_difference=False),
            Panel(title=f"{next_letter}: |b - {letter}|", picture=np.abs(real - predicted), is_difference=True),
        ]
    return found


def in_order(runs: Sequence[RunPictures]) -> list[RunPictures]:
    """As the paper shows losses."""
    return sorted(runs, key=lambda run: _ORDER.index(run.loss))


def draw_cases(runs: Sequence[RunPictures], cases: Sequence[str], given: str, path: Path) -> Rows:
    """Two rows a case, sagittal and axial; returns a table of the errors shown.

    Parameters
    ----------
    runs
        One, or one for each loss.
    given
        The input that column a shows.

    Raises
    ------
    UsageError
        The runs were not evaluated on the same images, were given no such input, or know no such case.
    """
    _check(runs, cases, given)
    lines = [(case, plane, panels(runs, case, plane, given)) for case in cases for plane in PLANES]
    columns = len(lines[0][2])
    figure = Figure(figsize=(columns * _CELL_INCH, len(lines) * _CELL_INCH + 0.5), layout="constrained")
    white = _white([line[1].picture for _, _, line in lines])
    for axes, (case, plane, line) in zip(figure.subplots(len(lines), columns, squeeze=False), lines, strict=True):
        for axis, panel in zip(axes, line, strict=True):
            if panel.is_difference:
                axis.imshow(panel.picture, cmap="magma", vmin=0, vmax=white / 2)
            else:
                axis.imshow(panel.picture, cmap="gray", vmin=0, vmax=white)
            axis.set_axis_off()
            if line is lines[0][2]:
                axis.set_title(panel.title, fontsize=9)
        where = {"rotation": 90, "va": "center", "ha": "right", "fontsize": 8, "transform": axes[0].transAxes}
        axes[0].text(-0.04, 0.5, f"{case}\n{plane}", **where)
    scale = f"grey 0 to {white:.2f}, differences 0 to {white / 2:.2f}, in the model's scale"
    said = label(any(run.simulated for run in runs))
    figure.suptitle(f"{said}. Model given: {', '.join(runs[0].inputs)}; {scale}", fontsize=8)
    save(figure, path, said)
    rows: Rows = [["case", "plane", "run", "loss", "mse", "mae"]]
    for case, plane, line in lines:
        for run, panel in zip(in_order(runs), line[3::2], strict=True):
            mse, mae = float((panel.picture**2).mean()), float(panel.picture.mean())
            rows.append([case, plane, run.run, run.loss, mse, mae])
    return rows


def _check(runs: Sequence[RunPictures], cases: Sequence[str], given: str) -> None:
    first = runs[0]
    if len({run.loss for run in runs}) < len(runs):
        raise UsageError("two runs have the same loss; give one run for each")
    for run in runs:
        if given not in run.inputs:
            raise UsageError(f"run {run.run} was given {', '.join(run.inputs)}, not {given}")
        unknown = [case for case in cases if case not in run.cases]
        if unknown:
            raise UsageError(f"run {run.run} has no held-out {', '.join(unknown)}; it has {', '.join(run.cases)}")
        for case in cases:
            for plane in PLANES:
                mine, theirs = (r.shown(r.cases.index(case), plane, "real") for r in (run, first))
                if mine.shape != theirs.shape or np.abs(mine - theirs).max() > 1e-3:
                    raise UsageError(f"runs {first.run} and {run.run} were not evaluated on the same images")


def _white(real: Sequence[Float32]) -> float:
    """Of all pictures of the figure alike, so that they can be compared."""
    return max(float(np.percentile(np.concatenate([picture.ravel() for picture in real]), 99.5)), 1e-3)
