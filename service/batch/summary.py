"""summary.csv: one line a case."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from service.batch.cases import BatchCase
from service.batch.convert_case import places
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
    "total_s",
    "baseline_source",
    "delayed_source",
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
    model = report.get("model") or {}
    reflux = report.get("reflux") or {}
    baseline_source, delayed_source = places(case)
    return [
        report["case_id"],
        report["outcome"],
        _codes(report["reasons"]),
        _codes(report["warnings"]),
        (report.get("baseline") or {}).get("series_instance_uid", ""),
        (report.get("delayed") or {}).get("series_instance_uid", ""),
        _or_empty(report.get("hours_after_injection")),
        f"{model['name']} {model['version']}" if model else "",
        _or_empty(reflux.get("index")),
        reflux.get("grade_24h", ""),
        report["timings_s"]["total"],
        baseline_source,
        delayed_source,
    ]


def _codes(reasons: Sequence[Json]) -> str:
    return " ".join(reason["code"] for reason in reasons)


def _or_empty(value: object) -> object:
    return "" if value is None else value
