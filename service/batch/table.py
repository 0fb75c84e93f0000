"""pairs.csv: a table that names the two series of every case.

Columns: ``baseline``, ``delayed`` (a NIfTI file, or a folder or .zip with one DICOM series; relative to the
table), and optionally ``case`` (a name for the case), ``injection_time`` (DICOM: ISO 8601) and
``hours_after_injection`` (NIfTI, whose files hold no times).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from service.batch.csv_lines import read_lines
from service.batch.layout import RESERVED_NAMES
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
    """All rows; the separator is a comma, or a semicolon as some spreadsheet programs write it, then with 1,5 for 1.5.

    Raises
    ------
    UsageError
        Lists every fault at once.
    """
    columns, lines = read_lines(path, numbers=("hours_after_injection",))
    problems = list(_heading_faults(columns))
    rows: list[TableRow] = []
    for number, cells in [] if problems else lines:
        if not any(cells):
            continue
        found = list(_faults(columns, cells, path.parent))
        problems += [f"line {number}: {fault}" for fault in found]
        if not found:
            rows.append(_row(number, _values(columns, cells), path.parent))
    named = Counter(row.case for row in rows if row.case)
    problems += [f"case {name!r} is named {count} times" for name, count in sorted(named.items()) if count > 1]
    if not (problems or rows):
        problems.append("no line below the header")
    if problems:
        raise UsageError(f"{path} cannot be used:\n  - " + "\n  - ".join(problems))
    return tuple(rows)


def _heading_faults(columns: list[str]) -> Iterator[str]:
    accepted = (*_REQUIRED, *_OPTIONAL)
    for name in _REQUIRED:
        if name not in columns:
            yield f"column {name!r} is missing"
    for name, count in Counter(columns).items():
        if name not in accepted:
            yield f"column {name!r} is unknown; accepted: {', '.join(accepted)}"
        elif count > 1:
            yield f"column {name!r} stands there {count} times; accepted: once"


def _values(columns: list[str], cells: list[str]) -> dict[str, str]:
    return dict.fromkeys(_OPTIONAL, "") | dict(zip(columns, cells, strict=True))


def _faults(columns: list[str], cells: list[str], folder: Path) -> Iterator[str]:
    if len(cells) != len(columns):
        yield f"found {len(cells)} cells; accepted: {len(columns)}, as in line 1 (quote a path that has a separator)"
        return
    values = _values(columns, cells)
    for name in _REQUIRED:
        if not values[name]:
            yield f"{name} is empty; accepted: a NIfTI file, or a folder or .zip with one DICOM series"
        elif not (folder / values[name]).exists():
            yield f"{name}: {values[name]} is not there"
    kinds = {is_nifti(Path(values[name])) for name in _REQUIRED if values[name]}
    if len(kinds) > 1:
        yield "one of the two is NIfTI and the other is not; accepted: both of one kind"
    if values["case"] and (not _NAME.fullmatch(values["case"]) or values["case"].lower() in RESERVED_NAMES):
        accepted = f"1 to 64 letters, digits, '.', '_' or '-', not {' or '.join(sorted(RESERVED_NAMES))}"
        yield f"case: found {values['case']!r}; accepted: {accepted}"
    yield from _injection_faults(values["injection_time"], kinds)
    yield from _hours_faults(values["hours_after_injection"], kinds)


def _injection_faults(written: str, kinds: set[bool]) -> Iterator[str]:
    if not written:
        return
    if not _is_time(written):
        yield f"injection_time: found {written!r}; accepted: ISO 8601 with a time of day, e.g. 2026-03-04T09:30"
    if kinds == {True}:
        yield "injection_time does not help with NIfTI, which holds no acquisition time; give hours_after_injection"


def _hours_faults(written: str, kinds: set[bool]) -> Iterator[str]:
    if not written:
        return
    try:
        understood = math.isfinite(float(written))
    except ValueError:
        understood = False
    if not understood:
        yield f"hours_after_injection: found {written!r}; accepted: a number, e.g. 1.5"
    if kinds == {False}:
        yield "hours_after_injection is for NIfTI; with DICOM give injection_time"


def _is_time(written: str) -> bool:
    """A bare date would mean midnight, which nobody means."""
    try:
        datetime.fromisoformat(written)
    except ValueError:
        return False
    return re.search(r"[T ]\d\d", written) is not None


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
