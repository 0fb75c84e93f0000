"""The figures of a study as files: agreement.json, transitions.csv, agreement.csv, report.html."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.reader_study.analysis import Agreement, Reading, StudyFigures
from training.reader_study.bland_altman import LimitsOfAgreement
from training.reader_study.bootstrap import Estimate
from training.reader_study.key import Key
from training.reader_study.packs import templates
from training.reader_study.scale import GRADES, QUALITY
from training.reader_study.transitions import Share

SIMULATED = "SIMULATED patients: these figures say nothing about people"
NAMES = {
    "accuracy": "Same grade",
    "kappa_unweighted": "Cohen's kappa",
    "kappa_linear": "Cohen's kappa, linear",
    "kappa_quadratic": "Cohen's kappa, quadratic",
    "kappa_fleiss": "Fleiss' kappa",
    "gwet_ac2": "Gwet's AC2, quadratic",
    "krippendorff_alpha": "Krippendorff's alpha, ordinal",
    "icc_2_1": "ICC(2,1)",
    "icc_3_1": "ICC(3,1)",
}
METHODS = (
    "Intervals are of 95 %: Wilson's for proportions; for coefficients percentiles of a bootstrap over patients; "
    "for ICC those of the F distribution. A bootstrap whose draws all agree, as with full agreement, gives none.",
    "Weights follow the grades' values, so that 0 and 3 lie three times as far apart as 3 and 4.",
    "Images that were not gradable are left out of the coefficients and counted in the tables.",
    "A reader's agreement with themselves on real and predicted images and the agreement between readers answer "
    "different questions; the one is not better for being higher than the other.",
    "Grades 1 and 2 need images over time and cannot be told from 24 h alone.",
)


def write_report(figures: StudyFigures, key: Key, out: Path) -> list[Path]:
    """Write all files into `out`; files of these names are replaced."""
    out.mkdir(parents=True, exist_ok=True)
    contents = {
        "agreement.json": json.dumps(_document(figures, key), indent=2, allow_nan=False) + "\n",
        "agreement.csv": _csv(_agreement_rows(figures)),
        "transitions.csv": _csv(_transition_rows(figures)),
        "report.html": _page(figures, key),
    }
    for name, text in contents.items():
        (out / name).write_text(text, encoding="utf-8", newline="")
    return [out / name for name in contents]


def number(value: float, digits: int = 2) -> str:
    """For people; an undefined figure is said to be so."""
    return "undefined" if math.isnan(value) else f"{value:.{digits}f}"


def estimate_text(estimate: Estimate) -> str:
    """Value, interval and half-width."""
    if math.isnan(estimate.low):
        return f"{number(estimate.value)} (no interval)" if not math.isnan(estimate.value) else "undefined"
    return (
        f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)}; "
        f"half-width {number(estimate.half_width)})"
    )


def share_text(share: Share) -> str:
    """Share, count and interval."""
    if not share.of:
        return "none of 0"
    low, high = share.interval
    return f"{share.share:.0%} ({share.count} of {share.of}; {low:.0%} to {high:.0%})"


def _document(figures: StudyFigures, key: Key) -> dict[str, Any]:
    return {
        "study": key.study,
        "simulated": key.simulated,
        "note": SIMULATED if key.simulated else "",
        "patients": figures.patients,
        "left_out": dict(key.left_out),
        "readers": key.readers,
        "models": dict(key.models),
        "grades": {str(grade): GRADES[grade] for grade in key.grades},
        "methods": list(METHODS),
        "bootstrap": {"draws": figures.draws, "seed": figures.seed, "unit": "patient"},
        "answers": [
            {
                **{n: getattr(t, n) for n in ("reader", "version", "shown", "graded", "not_gradable", "missing")},
                "grades": t.grades,
                "quality": {str(score): count for score, count in t.quality.items()},
                "recognised": _share(t.recognised),
            }
            for t in figures.tallies
        ],
        "readings": [_reading(reading) for reading in figures.readings],
        "agreement": [_agreement(found) for found in figures.agreements],
    }


def _reading(reading: Reading) -> dict[str, Any]:
    cut = reading.dichotomy
    return {
        "reader": reading.reader,
        "version": reading.version,
        "transitions": {
            "rows": "grade on the real image",
            "columns": "grade on the predicted image",
            "labels": list(reading.transitions.labels),
            "counts": [[cell.count for cell in row] for row in reading.transitions.cells],
            "cells": [[_share(cell) for cell in row] for row in reading.transitions.cells],
        },
        "strong_reflux": {
            "positive": "grades 3 and 4; the truth is the same reader's grade of the real image",
            **{
                name: _share(getattr(cut, name))
                for name in ("sensitivity", "specificity", "accuracy", "sensitivity_all", "specificity_all")
            },
            "real_not_gradable": cut.not_gradable,
        },
        "percent": _limits(reading.percent),
        "quality_difference": _estimate(reading.quality_difference),
    }


def _agreement(found: Agreement) -> dict[str, Any]:
    document: dict[str, Any] = {
        "comparison": found.what,
        "kind": found.kind,
        "patients": found.patients,
        **{name: _estimate(estimate) for name, estimate in found.figures.items()},
    }
    if found.same_grade is not None:
        document["same_grade_by_all"] = _share(found.same_grade)
    if found.icc is not None:
        document["icc_2_1"] = _interval(found.icc.absolute, found.icc.absolute_interval)
        document["icc_3_1"] = _interval(found.icc.consistency, found.icc.consistency_interval)
    if not math.isnan(found.kappa_half_width_large_sample):
        document["kappa_half_width_large_sample"] = found.kappa_half_width_large_sample
    return document


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {
        **_interval(estimate.value, (estimate.low, estimate.high)),
        "half_width": _null(estimate.half_width),
        "undefined_draws": estimate.undefined_draws,
    }


def _interval(value: float, interval: tuple[float, float]) -> dict[str, float | None]:
    return {"value": _null(value), "low": _null(interval[0]), "high": _null(interval[1])}


def _share(share: Share) -> dict[str, float | None]:
    return {"count": share.count, "of": share.of, **_interval(share.share, share.interval)}


def _limits(limits: LimitsOfAgreement) -> dict[str, Any]:
    return {
        "what": "ventricles in percent of subarachnoid fluid, predicted - real",
        "pairs": limits.pairs,
        "bias": _interval(limits.bias, limits.bias_interval),
        "standard_deviation": _null(limits.standard_deviation),
        "lower": _interval(limits.lower, limits.lower_interval),
        "upper": _interval(limits.upper, limits.upper_interval),
    }


def _null(value: float) -> float | None:
    """JSON has no NaN, and an infinite bound is none."""
    return value if math.isfinite(value) else None


def _agreement_rows(figures: StudyFigures) -> Iterator[list[object]]:
    yield ["comparison", "kind", "patients", "coefficient", "value", "low", "high", "half_width", "undefined_draws"]
    for found in figures.agreements:
        document = _agreement(found)
        for name in NAMES:
            if name in document:
                entry = document[name]
                columns = [entry.get(k) for k in ("value", "low", "high", "half_width", "undefined_draws")]
                yield [found.what, found.kind, found.patients, name, *("" if v is None else v for v in columns)]


def _transition_rows(figures: StudyFigures) -> Iterator[list[object]]:
    yield ["reader", "version", "grade_real", "grade_predicted", "count", "of_row", "share", "low", "high"]
    for reading in figures.readings:
        table = reading.transitions
        for real, row in zip(table.labels, table.cells, strict=True):
            for predicted, cell in zip(table.labels, row, strict=True):
                shown = [_null(v) for v in (cell.share, *cell.interval)]
                yield [reading.reader, reading.version, real, predicted, cell.count, cell.of,
                       *("" if v is None else v for v in shown)]  # fmt: skip


def _csv(rows: Iterable[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _page(figures: StudyFigures, key: Key) -> str:
    made = templates()
    made.filters |= {"estimate": estimate_text, "share": share_text, "number": number}
    return made.get_template("report.html").render(
        key=key, figures=figures, names=NAMES, methods=METHODS, quality=QUALITY, simulated=SIMULATED,
        grades={grade: GRADES[grade] for grade in key.grades},
        kinds={
            "real and predicted": "Each reader with themselves: real and predicted images",
            "read twice": "Each reader with themselves: real images read twice (the ceiling)",
            "readers": "Readers among each other",
        },
    )  # fmt: skip
