"""When the contrast agent was injected: what a person, a table or a header says, and how times compare.

DICOM dates and times are local to the scanner unless Timezone Offset From UTC (0008,0201) is present, so
aware and naive times meet here. They are compared as clocks on the scanner's wall: an aware time is first
turned to the offset that the series states, or stays as written when no series states one; a naive time is
taken as written. Whoever supplies an injection time beside naive series should therefore write local time.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import TypeAlias

from service.dicom.records import SeriesSummary
from service.errors import ConfigError, Reason

BOLUS = timedelta(minutes=30)
"""An intrathecal injection is made elsewhere and needs the patient moved. A contrast start nearer to its own scan,
on a route that is not stated, is the bolus of an ordinary examination."""
ONE_INJECTION = timedelta(hours=12)
"""Times nearer than this speak of one injection; nobody is injected intrathecally twice a day."""
HOW_TO_SUPPLY_THE_TIME = (
    "Supply it as Contrast/Bolus Start Time (0018,1042) of the delayed series, in the table that "
    "pairing.injection_times names, with --injection-time, or with `csf24 cases release CASE --injection-time TIME`."
)
_COLUMNS = ("patient_id", "injection_time", "study_instance_uid")
_INTRATHECAL = re.compile(r"thecal|lumbar|spinal|cistern|subarach", re.IGNORECASE)
_INTRAVENOUS = re.compile(r"intra-?\s?ven|\bi\.?\s?v\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """A row of the table; with a study it holds for pairs of which a series is in that study."""

    injection_time: datetime
    study_instance_uid: str = ""


InjectionTable: TypeAlias = Mapping[str, tuple[TableEntry, ...]]
"""Entries by Patient ID (0010,0020), in order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionTimes:
    """Where injection times come from besides headers; the earlier source wins.

    Attributes
    ----------
    explicit
        Said for everything at hand, e.g. ``--injection-time``.
    by_series
        Said by a person who released a case, by the Series Instance UID of its delayed series.
    table
        The site's table, see `read_injection_table`.
    earlier
        Of the patient's cases of which the delayed series is no longer at hand. They are no series' own time, but
        what was injected then may still show.
    """

    explicit: datetime | None = None
    by_series: Mapping[str, datetime] = field(default_factory=dict)
    table: InjectionTable = field(default_factory=dict)
    earlier: frozenset[datetime] = frozenset()


def injection_time_for(
    delayed: SeriesSummary, baseline: SeriesSummary | None, times: InjectionTimes
) -> datetime | None:
    """The injection that a delayed series was acquired after, or None when nobody says.

    What was said (see `said_for`) comes before Contrast/Bolus Start Time (0018,1042) of the delayed series.
    """
    return said_for(delayed, baseline, times) or contrast_start_of(delayed)


def said_for(delayed: SeriesSummary, baseline: SeriesSummary | None, times: InjectionTimes) -> datetime | None:
    """The injection by what was said besides headers: explicit, by series, table, in this order.

    In the table a row for the study of either series wins; of the others the latest before the delayed series,
    or the first of all when every row is later, so that checks can say that it lies in the future.
    """
    said = times.explicit or times.by_series.get(delayed.series_instance_uid)
    if said is not None:
        return said
    both = tuple(series for series in (delayed, baseline) if series is not None)
    studies = {series.header.study_instance_uid for series in both}
    entries = times.table.get(delayed.header.patient_id.strip(), ())
    own = tuple(entry for entry in entries if entry.study_instance_uid in studies)
    entries = own or tuple(entry for entry in entries if not entry.study_instance_uid)
    if not entries:
        return None
    offset, acquired = scanner_offset(both), delayed.acquired_at
    before = [
        entry
        for entry in entries
        if acquired and wall_clock(entry.injection_time, offset) <= wall_clock(acquired, offset)
    ]
    return (before[-1] if before else entries[0]).injection_time


def contrast_start_of(summary: SeriesSummary) -> datetime | None:
    """Contrast/Bolus Start Time (0018,1042), where it can be that of an intrathecal injection.

    It counts when the route (0018,1040) is intrathecal, or is not stated and the start lies at least `BOLUS`
    before the scan.
    """
    start, acquired = summary.header.contrast_start, summary.acquired_at
    if start is None:
        return None
    if summary.header.contrast_route.strip():
        return start if _INTRATHECAL.search(summary.header.contrast_route) else None
    if acquired is None:
        return None
    offset = scanner_offset((summary,))
    return start if wall_clock(acquired, offset) - wall_clock(start, offset) >= BOLUS else None


def is_intravenous(summary: SeriesSummary) -> bool:
    """Whether the header states an intravenous contrast agent."""
    return bool(_INTRAVENOUS.search(summary.header.contrast_route))


def unused_contrast_start(summary: SeriesSummary) -> Reason | None:
    """Why the contrast start that the header states was not taken as the injection, if it states one."""
    if summary.header.contrast_start is None or contrast_start_of(summary) is not None:
        return None
    route = summary.header.contrast_route.strip()
    found = "another route than intrathecal" if route else "no route and a time less than 30 min before the scan"
    return Reason(
        code="CONTRAST_START_NOT_USED",
        message=f"The header states a contrast start with {found}, so it is not taken as the intrathecal injection; "
        "correct Contrast/Bolus Route (0018,1040) at the scanner or supply the injection time.",
        measured=route or "no route",
        limit="INTRATHECAL",
    )


def scanner_offset(series: Iterable[SeriesSummary]) -> tzinfo | None:
    """UTC offset that the latest of these series states, or None when none does."""
    aware = [item.acquired_at for item in series if item.acquired_at is not None and item.acquired_at.tzinfo]
    return max(aware).tzinfo if aware else None


def wall_clock(moment: datetime, offset: tzinfo | None) -> datetime:
    """Naive local time as a clock at the scanner shows it; see the module's rule."""
    if moment.tzinfo is not None and offset is not None:
        moment = moment.astimezone(offset)
    return moment.replace(tzinfo=None)


def hours_between(earlier: datetime, later: datetime, offset: tzinfo | None) -> float:
    """Signed hours on the scanner's clock."""
    return (wall_clock(later, offset) - wall_clock(earlier, offset)) / timedelta(hours=1)


def read_injection_table(text: str) -> InjectionTable:
    """Read a CSV table with the columns patient_id, injection_time and, if wanted, study_instance_uid.

    The separator is a comma or a semicolon. Times are ISO 8601 with date and time of day, e.g.
    ``2026-03-04T09:30``; local to the scanner unless they have an offset.

    Raises
    ------
    ConfigError
        Lists every fault, by line; no value is quoted, since all of them are patient data.
    """
    text = text.removeprefix("\ufeff")  # as spreadsheet programs write it
    heading = text.partition("\n")[0]
    rows = list(csv.reader(io.StringIO(text), delimiter=";" if ";" in heading else ","))
    columns = [name.strip().lower() for name in rows[0]] if rows else []
    problems = list(_heading_faults(columns))
    if problems:
        raise ConfigError(problems)
    table: dict[str, list[TableEntry]] = {}
    for line, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        faults = list(_row_faults(columns, cells))
        problems += [f"injection times, line {line}: {fault}" for fault in faults]
        if faults:
            continue
        values = _values(columns, cells)
        entry = TableEntry(
            injection_time=datetime.fromisoformat(values["injection_time"]),
            study_instance_uid=values.get("study_instance_uid", ""),
        )
        entries = table.setdefault(values["patient_id"], [])
        if any(_contradict(entry, other) for other in entries):
            problems.append(
                f"injection times, line {line}: another time within {ONE_INJECTION // timedelta(hours=1)} h of an "
                "earlier line's for the same patient; accepted: one line for an injection"
            )
        elif entry not in entries:
            entries.append(entry)
    if problems:
        raise ConfigError(problems)
    return {patient: tuple(sorted(entries, key=_by_time)) for patient, entries in table.items()}


def _heading_faults(columns: Sequence[str]) -> Iterator[str]:
    accepted = ", ".join(_COLUMNS)
    for name in _COLUMNS[:2]:
        if name not in columns:
            yield f"injection times, line 1: no column {name!r}; accepted: {accepted}"
    for number, name in enumerate(columns, start=1):
        if name not in _COLUMNS:  # not quoted: in a table without a heading it is a patient's
            yield f"injection times, line 1: the heading of column {number} is unknown; accepted: {accepted}"
    if len(set(columns)) < len(columns):
        yield "injection times, line 1: a column stands there twice; accepted: each once"


def _row_faults(columns: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    if len(cells) != len(columns):
        yield f"found {len(cells)} cells; accepted: {len(columns)}, as in line 1"
        return
    values = _values(columns, cells)
    if not values["patient_id"]:
        yield "no patient_id; accepted: the Patient ID (0010,0020) of the series"
    written = values["injection_time"]
    try:
        datetime.fromisoformat(written)
    except ValueError:
        understood = False
    else:
        understood = re.search(r"[T ]\d\d", written) is not None  # a bare date would mean midnight
    if not understood:
        yield "injection_time is no date with a time of day; accepted: ISO 8601, e.g. 2026-03-04T09:30"


def _values(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    return {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}


def _contradict(one: TableEntry, other: TableEntry) -> bool:
    apart = abs(wall_clock(one.injection_time, None) - wall_clock(other.injection_time, None))
    return timedelta(0) < apart < ONE_INJECTION and one.study_instance_uid == other.study_instance_uid


def _by_time(entry: TableEntry) -> datetime:
    return wall_clock(entry.injection_time, None)
