"""cohort.csv: the visits of a cohort of one's own, a line each.

Columns: ``patient``; ``path`` (a folder or .zip with one DICOM series, a NIfTI file, or a BIDS session folder; relative
to the table); ``simulated`` (yes or no); when the visit was, as one of ``visit`` (name of a window), ``hours`` (after
the injection, negative before it) and ``injection_time`` (ISO 8601; DICOM, which states when it was acquired); and
optionally ``split`` (train, val, test). All other columns are covariates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from service.batch.csv_lines import read_lines
from service.errors import UsageError
from training.prepared import PARTS
from training.windows import WindowSet

_REQUIRED = ("patient", "path", "simulated")
_TIMES = ("visit", "hours", "injection_time")
_SAID = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRow:
    """One line.

    Attributes
    ----------
    visit, hours, injection_time
        As far as stated; at least one is.
    simulated
        What the table says; files that say more are believed.
    covariates
        The further columns.
    """

    line: int
    patient: str
    path: Path
    simulated: bool
    visit: str
    hours: float | None
    injection_time: datetime | None
    split: str
    covariates: Mapping[str, str]


def read_cohort_table(path: Path, windows: WindowSet) -> tuple[VisitRow, ...]:
    """All lines; comma or semicolon.

    Raises
    ------
    UsageError
        Lists every fault at once.
    """
    columns, lines = read_lines(path, numbers=("hours",))
    problems = [f"no column {name!r}" for name in _REQUIRED if name not in columns]
    if not set(_TIMES) & set(columns):
        problems.append(f"no column that says when a visit was; accepted: {', '.join(_TIMES)}")
    rows: list[VisitRow] = []
    for number, values in [] if problems else lines:
        if not any(values):
            continue
        cells = dict(zip_longest(columns, values[: len(columns)], fillvalue=""))
        faults = list(_faults(cells, windows, path.parent))
        problems += [f"line {number}: {fault}" for fault in faults]
        if not faults:
            rows.append(_row(number, cells, path.parent))
    problems += _split_faults(rows)
    if not problems and not rows:
        problems.append("no visit")
    if problems:
        raise UsageError(f"{path} cannot be used:\n  - " + "\n  - ".join(problems))
    return tuple(rows)


def _faults(cells: Mapping[str, str], windows: WindowSet, folder: Path) -> Iterator[str]:
    if not cells["patient"]:
        yield "no patient"
    if any(c in cells["patient"] for c in "/\\") or cells["patient"].startswith("."):
        yield f"patient {cells['patient']!r} would not make a file name"
    if not cells["path"] or not (folder / cells["path"]).exists():
        yield f"{cells['path'] or 'no path'}: not there; accepted: a DICOM folder or .zip, NIfTI, a BIDS session"
    if cells["simulated"].lower() not in _SAID:
        yield f"simulated is {cells['simulated']!r}; accepted: yes or no"
    if cells.get("split") and cells["split"] not in PARTS:
        yield f"split is {cells['split']!r}; accepted: {', '.join(PARTS)}"
    if not any(cells.get(name) for name in _TIMES):
        yield f"nothing says when the visit was; accepted: one of {', '.join(_TIMES)}"
    hours = cells.get("hours", "")
    number = _number(hours)
    if hours and number is None:
        yield f"hours is {hours!r}; accepted: a number, negative before the injection"
    visit = cells.get("visit", "")
    if visit and visit not in windows.names:
        yield f"visit is {visit!r}; accepted: {', '.join(windows.names)}"
    elif visit and number is not None and windows.of(number) != visit:
        yield f"{number:g} h is not in the window {visit}"
    if cells.get("injection_time") and _time(cells["injection_time"]) is None:
        yield f"injection_time is {cells['injection_time']!r}; accepted: ISO 8601, e.g. 2026-03-04T09:30"


def _row(line: int, cells: Mapping[str, str], folder: Path) -> VisitRow:
    known = {*_REQUIRED, *_TIMES, "split"}
    return VisitRow(
        line=line,
        patient=cells["patient"],
        path=folder / cells["path"],
        simulated=_SAID[cells["simulated"].lower()],
        visit=cells.get("visit", ""),
        hours=_number(cells.get("hours", "")),
        injection_time=_time(cells.get("injection_time", "")),
        split=cells.get("split", ""),
        covariates={name: value for name, value in cells.items() if name not in known},
    )


def _split_faults(rows: list[VisitRow]) -> list[str]:
    stated: dict[str, set[str]] = {}
    for row in rows:
        stated.setdefault(row.patient, set()).add(row.split)
    faults = [
        f"patient {name} is in more than one part: {', '.join(sorted(parts)) or 'none'}"
        for name, parts in stated.items()
        if len(parts) > 1
    ]
    some = {bool(part) for parts in stated.values() for part in parts}
    return (
        [*faults, "split is stated for some patients only; state it for all or for none"] if len(some) > 1 else faults
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
