"""The figures of a study on the terminal: every transition matrix, and one line for each comparison."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from training.reader_study.analysis import Agreement, StudyFigures
from training.reader_study.bootstrap import Estimate
from training.reader_study.key import Key
from training.reader_study.report import SIMULATED, number, share_text

_SHOWN = {
    "accuracy": "same grade",
    "kappa_unweighted": "kappa",
    "kappa_linear": "linear",
    "kappa_quadratic": "quadratic",
    "kappa_fleiss": "Fleiss",
    "gwet_ac2": "AC2",
    "krippendorff_alpha": "alpha",
}


def print_figures(figures: StudyFigures, key: Key, out: Console) -> None:
    """Counts and shares of each matrix; coefficients with their intervals are in the files, kappa's here too."""
    if key.simulated:
        out.print(SIMULATED, style="bold")
    out.print(f"Study {key.study}: {figures.patients} patients, {key.readers} readers, {len(key.left_out)} left out")
    for reading in figures.readings:
        table = Table(title=f"reader {reading.reader}: rows real, columns {reading.version}", title_justify="left")
        for heading in ("real", *reading.transitions.labels, "all"):
            table.add_column(heading, justify="right")
        for label, row in zip(reading.transitions.labels, reading.transitions.cells, strict=True):
            cells = [f"{c.count} ({c.share:.0%})" if c.of else "0" for c in row]
            table.add_row(label, *cells, str(row[0].of))
        out.print(table)
        cut = reading.dichotomy
        out.print(
            f"grades 3-4: sensitivity {share_text(cut.sensitivity)}, specificity {share_text(cut.specificity)}",
            highlight=False,
        )
    table = Table("comparison", "n", *_SHOWN.values(), "kappa's interval", "half-width", "ICC(2,1)", "ICC(3,1)")
    for found in figures.agreements:
        table.add_row(*_line(found))
    out.print(table)
    unseen = sum(tally.not_gradable for tally in figures.tallies), sum(tally.missing for tally in figures.tallies)
    out.print(f"Not gradable: {unseen[0]} answers; missing: {unseen[1]}. Neither is in the coefficients.")


def _line(found: Agreement) -> list[str]:
    values = [number(found.figures[name].value) if name in found.figures else "" for name in _SHOWN]
    kappa = found.figures.get("kappa_unweighted") or found.figures["kappa_fleiss"]
    icc = ["", ""] if found.icc is None else [number(found.icc.absolute), number(found.icc.consistency)]
    return [found.what, str(found.patients), *values, *_interval(kappa), *icc]


def _interval(estimate: Estimate) -> list[str]:
    if math.isnan(estimate.low):
        return ["none", ""]
    return [f"{number(estimate.low)} to {number(estimate.high)}", number(estimate.half_width)]
