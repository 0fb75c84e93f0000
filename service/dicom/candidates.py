"""A patient's usable series on one time line, each with the injection it was acquired after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from service.dicom.injection import (
    ONE_INJECTION,
    InjectionTimes,
    contrast_start_of,
    said_for,
    scanner_offset,
    wall_clock,
)
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary

_SAME_TIME_OF_DAY = timedelta(minutes=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A usable series.

    Attributes
    ----------
    at
        Start of the acquisition on the scanner's wall clock, naive.
    injection, injected_at
        The last known injection before it, as it was supplied and on the wall clock; None when none is known.
    """

    summary: SeriesSummary
    at: datetime
    injection: datetime | None
    injected_at: datetime | None

    @property
    def hours(self) -> float | None:
        """Hours after the injection."""
        return None if self.injected_at is None else (self.at - self.injected_at) / timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One injection; several sources may differ in its time by minutes. Wall clock."""

    first: datetime
    last: datetime

    def covers(self, candidate: Candidate) -> bool:
        """Whether a series was acquired after this injection and before the next."""
        return candidate.injected_at is not None and self.first <= candidate.injected_at <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLine:
    """Candidates in order of acquisition, injections in order of time."""

    candidates: tuple[Candidate, ...]
    injections: tuple[Injection, ...]


def time_line(series: Iterable[SeriesSummary], times: InjectionTimes, policy: PairingPolicy) -> TimeLine:
    """Put one patient's series and injections on the scanner's wall clock; series without a time are left out.

    A series without an injection of its own, said or stated, belongs to the last one before it that is known for
    the patient. One that is longer ago than the protocol lasts is not taken: then nobody told of the right one.
    """
    dated = [item for item in series if item.acquired_at is not None]
    clock = _Clock(scanner_offset(dated))
    ordered = sorted(dated, key=lambda item: (clock.of(item), item.series_instance_uid))
    reach = timedelta(hours=max(policy.washout_h, *(point.latest_h for point in policy.time_points), 0.0))
    own = _own_injections(ordered, times, clock, reach)
    known = sorted(
        {*own.values(), *_tabled(ordered, times), *times.earlier}, key=lambda moment: (clock.at(moment), str(moment))
    )
    candidates = []
    for item in ordered:
        at = clock.of(item)
        injection = own.get(item.series_instance_uid)
        if injection is None or not at - reach <= clock.at(injection) <= at:
            earlier = [moment for moment in known if at - reach <= clock.at(moment) <= at]
            injection = earlier[-1] if earlier else None
        injected_at = None if injection is None else clock.at(injection)
        candidates.append(Candidate(summary=item, at=at, injection=injection, injected_at=injected_at))
    return TimeLine(candidates=tuple(candidates), injections=_distinct([clock.at(moment) for moment in known]))


@dataclass(frozen=True, slots=True)
class _Clock:
    offset: tzinfo | None

    def at(self, moment: datetime) -> datetime:
        return wall_clock(moment, self.offset)

    def of(self, item: SeriesSummary) -> datetime:
        if item.acquired_at is None:
            raise ValueError("the series has no acquisition time")
        return wall_clock(item.acquired_at, self.offset)


def _own_injections(
    ordered: Sequence[SeriesSummary], times: InjectionTimes, clock: _Clock, reach: timedelta
) -> dict[str, datetime]:
    """Injections that are said for a series, or stated in its header; in order of acquisition."""
    own: dict[str, datetime] = {}
    stated = sorted(times.earlier, key=lambda moment: (clock.at(moment), str(moment)))
    for item in ordered:
        said = said_for(item, None, times)
        start = contrast_start_of(item) if said is None else None
        if start is not None:
            # Contrast/Bolus Start Time is a time of day. A scan of the next day that still shows it was not
            # preceded by a second injection at the very minute of the first; one of a later episode may be.
            start = next((earlier for earlier in stated if _is_copy(clock.at(start), clock.at(earlier), reach)), start)
            stated.append(start)
        injection = said or start
        if injection is not None:
            own[item.series_instance_uid] = injection
    return own


def _is_copy(start: datetime, earlier: datetime, reach: timedelta) -> bool:
    days = round((start - earlier) / _DAY)
    return days >= 1 and start - earlier <= reach and abs(start - earlier - days * _DAY) <= _SAME_TIME_OF_DAY


def _tabled(ordered: Sequence[SeriesSummary], times: InjectionTimes) -> set[datetime]:
    """Rows of the table for the patient or one of these studies."""
    if times.explicit is not None:
        return set()
    studies = {"", *(item.header.study_instance_uid for item in ordered)}
    patients = {item.header.patient_id.strip() for item in ordered}
    entries = [entry for patient in patients for entry in times.table.get(patient, ())]
    return {entry.injection_time for entry in entries if entry.study_instance_uid in studies}


def _distinct(moments: Sequence[datetime]) -> tuple[Injection, ...]:
    """Injections, of ascending times that may speak of the same one."""
    found: list[Injection] = []
    for moment in moments:
        if found and moment - found[-1].first < ONE_INJECTION:
            found[-1] = Injection(first=found[-1].first, last=moment)
        else:
            found.append(Injection(first=moment, last=moment))
    return tuple(found)
