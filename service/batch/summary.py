"""summary.csv: one line for each case."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from service.batch.cases import BatchCase, notes_of
from service.report import Json

COLUMNS = (
    "case_id",
    "outcome",
    "reasons",
    "warnings",
    "baseline_series_uid",
    "delayed_series_uid",
    "hours_after_injection",
    "model",
    "reflux_index",
    "reflux_grade_24h",
    "reflux_grade_range",
    "total_s",
    "baseline_source",
    "delayed_source",
    "other_sources",
)


def write_summary(rows: Sequence[tuple[BatchCase, Json]], path: Path) -> None:
    """Sorted by case id."""
    draft = path.with_name(f".{path.name}.part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for case, report in sorted(rows, key=lambda row: row[0].case_id):
            writer.writerow(_line(case, report))
    draft.replace(path)


def _line(case: BatchCase, report: Json) -> list[object]:
    model, reflux = report["model"], report["reflux"]
    baseline, delayed, others = notes_of(case)
    return [
        report["case_id"],
        report["outcome"],
        _codes(report["reasons"]),
        _codes(report["warnings"]),
        (report["baseline"] or {}).get("series_instance_uid", ""),
        (report["delayed"] or {}).get("series_instance_uid", ""),
        _or_empty(report["hours_after_injection"]),
        f"{model['name']} {model['version']}" if model["name"] else "",
        _or_empty(reflux["index"]),
        _or_empty(reflux["grade_24h"]),
        " to ".join(reflux.get("grade_range") or ()),  # kept reports of an earlier version have none
        report["timings_s"]["total"],
        baseline.place if baseline else "",
        delayed.place if delayed else "",
        "; ".join(note.place for note in others),
    ]


def _codes(reasons: Sequence[Json]) -> str:
    return " ".join(reason["code"] for reason in reasons)


def _or_empty(value: object) -> object:
    return "" if value is None else value
