"""pairs.csv: a table that names the two series of every case.

Columns: ``baseline``, ``delayed`` (a NIfTI file, or a folder or .zip with one DICOM series; relative to the
table), and optionally ``case`` (a name for the case), ``injection_time`` (DICOM: ISO 8601) and
``hours_after_injection`` (NIfTI, whose files hold no times).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from service.batch.nifti import is_nifti
from service.errors import UsageError

_REQUIRED = ("baseline", "delayed")
_OPTIONAL = ("case", "injection_time", "hours_after_injection")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One line; `case` is empty when the table gives no name."""

    line: int
    case: str
    baseline: Path
    delayed: Path
    injection_time: datetime | None
    hours_after_injection: float | None

    @property
    def nifti(self) -> bool:
        """Whether the two are NIfTI files; both are, or neither."""
        return is_nifti(self.baseline)


def read_table(path: Path) -> tuple[TableRow, ...]:
    """All rows.

    Raises
    ------
    UsageError
        Lists every fault at once.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = tuple(name.strip().lower() for name in reader.fieldnames or ())
            lines = [dict(zip(names, (line.get(f) for f in reader.fieldnames or ()), strict=True)) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UsageError(f"{path}: cannot be read ({type(fault).__name__}); accepted: a CSV file in UTF-8") from fault
    problems = [f"column {name!r} is missing" for name in _REQUIRED if name not in names]
    problems += [
        f"column {name!r} is unknown; accepted: {', '.join((*_REQUIRED, *_OPTIONAL))}"
        for name in names
        if name not in (*_REQUIRED, *_OPTIONAL)
    ]
    rows: list[TableRow] = []
    if not problems:
        for number, line in enumerate(lines, start=2):
            values = {name: (line.get(name) or "").strip() for name in (*_REQUIRED, *_OPTIONAL)}
            found = list(_faults(values, path.parent))
            problems += [f"line {number}: {fault}" for fault in found]
            if not found:
                rows.append(_row(number, values, path.parent))
        named = [row.case for row in rows if row.case]
        problems += [f"case {name!r} is named twice" for name in sorted({n for n in named if named.count(n) > 1})]
        if not lines:
            problems.append("no line below the header")
    if problems:
        raise UsageError(f"{path} cannot be used:\n  - " + "\n  - ".join(problems))
    return tuple(rows)


def _faults(values: dict[str, str], folder: Path) -> Iterator[str]:
    for name in _REQUIRED:
        if not values[name]:
            yield f"{name} is empty; accepted: a NIfTI file, or a folder or .zip with one DICOM series"
        elif not (folder / values[name]).exists():
            yield f"{name}: {values[name]} is not there"
    kinds = {is_nifti(Path(values[name])) for name in _REQUIRED}
    if len(kinds) > 1:
        yield "one of the two is NIfTI and the other is not; accepted: both of one kind"
    if values["case"] and not _NAME.fullmatch(values["case"]):
        yield f"case: found {values['case']!r}; accepted: 1 to 64 letters, digits, '.', '_' or '-'"
    if values["injection_time"]:
        try:
            datetime.fromisoformat(values["injection_time"])
        except ValueError:
            yield f"injection_time: found {values['injection_time']!r}; accepted: ISO 8601, e.g. 2026-03-04T09:30"
        if True in kinds:
            yield "injection_time does not help with NIfTI, which holds no acquisition time; give hours_after_injection"
    if values["hours_after_injection"]:
        try:
            float(values["hours_after_injection"])
        except ValueError:
            yield f"hours_after_injection: found {values['hours_after_injection']!r}; accepted: a number, e.g. 1.5"
        if False in kinds:
            yield "hours_after_injection is for NIfTI; with DICOM give injection_time"


def _row(line: int, values: dict[str, str], folder: Path) -> TableRow:
    hours = values["hours_after_injection"]
    return TableRow(
        line=line,
        case=values["case"],
        baseline=folder / values["baseline"],
        delayed=folder / values["delayed"],
        injection_time=datetime.fromisoformat(values["injection_time"]) if values["injection_time"] else None,
        hours_after_injection=float(hours) if hours else None,
    )
