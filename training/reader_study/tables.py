"""The figures of a study on the terminal: every transition matrix, and a few lines for each comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from training.reader_study.analysis import Agreement, StudyFigures
from training.reader_study.key import Key
from training.reader_study.report import NAMES, SIMULATED, number, share_text

_PER_LINE = 2


def print_figures(figures: StudyFigures, key: Key, out: Console) -> None:
    """All but the answers' tallies, which are in the files; fits 80 columns."""
    if key.simulated:
        out.print(SIMULATED, style="bold")
    _say(out, f"Study {key.study}: {figures.patients} patients, {key.readers} readers, {len(key.left_out)} left out")
    for reading in figures.readings:
        table = Table(title=f"reader {reading.reader}: rows real, columns {reading.version}", title_justify="left")
        for heading in ("real", *reading.transitions.labels, "all"):
            table.add_column(heading, justify="right")
        for label, row in zip(reading.transitions.labels, reading.transitions.cells, strict=True):
            cells = [f"{c.count} ({c.share:.0%})" if c.of else "0" for c in row]
            table.add_row(label, *cells, str(row[0].of))
        out.print(table)
        _say(out, f"grades 3-4: sensitivity {share_text(reading.dichotomy.sensitivity)}")
        _say(out, f"            specificity {share_text(reading.dichotomy.specificity)}")
    for found in figures.agreements:
        _say(out, f"\n{found.what}: {found.patients} patients with all grades")
        values = list(_values(found))
        for start in range(0, len(values), _PER_LINE):
            _say(out, "  " + "; ".join(values[start : start + _PER_LINE]))
    ungraded = sum(tally.not_gradable for tally in figures.tallies)
    missing = sum(tally.missing for tally in figures.tallies)
    _say(out, f"\nNot gradable: {ungraded} answers; missing: {missing}. Neither is in the coefficients.")


def _values(found: Agreement) -> Iterator[str]:
    if found.same_grade is not None:
        yield f"same grade by all {share_text(found.same_grade)}"
    for name, estimate in found.figures.items():
        if name == "accuracy" and found.same_grade is not None:
            continue  # said already, with Wilson's interval
        known = not math.isnan(estimate.low)
        interval = f" ({number(estimate.low)} to {number(estimate.high)})" if known else " (no interval)"
        width = f", half-width {number(estimate.half_width)}" if known and name == "kappa_unweighted" else ""
        yield f"{NAMES[name]} {number(estimate.value)}{interval}{width}"
    if found.icc is not None:
        yield f"{NAMES['icc_2_1']} {number(found.icc.absolute)}"
        yield f"{NAMES['icc_3_1']} {number(found.icc.consistency)}"


def _say(out: Console, text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
