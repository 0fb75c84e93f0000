"""The header part of the quality gate for a pair: order, window, likeness, contrast, field of view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from service.dicom.injection import (
    HOW_TO_SUPPLY_THE_TIME,
    contrast_start_of,
    hours_between,
    is_intravenous,
    scanner_offset,
)
from service.dicom.likeness import Finding, differences, rejection, warning
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.sequence_limits import SHORTEST_FIELD_OF_VIEW_MM
from service.dicom.summaries import slice_grid
from service.errors import Reason

ACQUISITION_TIME_MISSING = Reason(
    code="ACQUISITION_TIME_MISSING",
    message="A series does not state when it was acquired, so it cannot be placed before or after the injection; "
    "accepted: Acquisition Date and Time (0008,0022), (0008,0032). Send the original series from the scanner.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCheck:
    """What the headers say of a pair.

    Attributes
    ----------
    rejections
        Empty when the pair may be converted.
    hours_after_injection
        Of the delayed series; None when a time is not known.
    """

    rejections: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    hours_after_injection: float | None


def check_pair(
    baseline: SeriesSummary, delayed: SeriesSummary, *, injection_time: datetime | None, policy: PairingPolicy
) -> PairCheck:
    """Hold two series against each other, the injection and the policy, whoever chose them.

    Times compare as described in `service.dicom.injection`. A matrix of its own in each series is allowed.
    """
    offset = scanner_offset((baseline, delayed))
    hours: float | None = None
    if injection_time is not None and delayed.acquired_at is not None:
        hours = hours_between(injection_time, delayed.acquired_at, offset)
    found = [
        *_order(baseline, delayed, offset),
        *_injection(baseline, injection_time, hours, policy, offset),
        *_clocks(baseline, delayed, injection_time, offset),
        *differences(baseline, delayed, policy),
        *_contrast(baseline, delayed),
        *_field_of_view("baseline", baseline),
        *_field_of_view("delayed", delayed),
    ]
    return PairCheck(
        rejections=tuple(item.reason for item in found if item.rejects),
        warnings=tuple(item.reason for item in found if not item.rejects),
        hours_after_injection=hours,
    )


def same_acquisition(one: SeriesSummary, other: SeriesSummary) -> bool:
    """Whether two series are one, or one sent twice under different UIDs: the same start and the same slices."""
    if one.series_instance_uid == other.series_instance_uid:
        return True
    return (
        one.acquired_at is not None
        and one.acquired_at == other.acquired_at
        and one.positions_mm == other.positions_mm
        and one.header.image_orientation == other.header.image_orientation
    )


def _order(baseline: SeriesSummary, delayed: SeriesSummary, offset: tzinfo | None) -> Iterator[Finding]:
    if same_acquisition(baseline, delayed):
        yield rejection(
            "SAME_SERIES",
            "Baseline and delayed series are one acquisition; accepted: one scan before the injection and one after.",
        )
    elif baseline.acquired_at is None or delayed.acquired_at is None:
        yield Finding(reason=ACQUISITION_TIME_MISSING, rejects=True)
    else:
        hours = hours_between(baseline.acquired_at, delayed.acquired_at, offset)
        if hours <= 0:
            yield rejection(
                "BASELINE_NOT_BEFORE_DELAYED",
                "The baseline was acquired after the delayed series; exchange the two, or correct their times.",
                round(hours, 2),
                "more than 0 h before the delayed series",
            )


def _injection(
    baseline: SeriesSummary,
    injection_time: datetime | None,
    hours: float | None,
    policy: PairingPolicy,
    offset: tzinfo | None,
) -> Iterator[Finding]:
    if injection_time is None:
        yield rejection(
            "INJECTION_TIME_MISSING",
            "The time of the intrathecal injection is not known, so it cannot be told whether the delayed series was "
            f"acquired {policy.delayed.text}. {HOW_TO_SUPPLY_THE_TIME}",
        )
        return
    if baseline.acquired_at is not None:
        before = hours_between(injection_time, baseline.acquired_at, offset)
        if before >= 0:
            yield rejection(
                "BASELINE_NOT_BEFORE_INJECTION",
                "The baseline was acquired after the injection; accepted: a scan before it. Choose another baseline or "
                "correct the injection time.",
                round(before, 2),
                policy.baseline.text,
            )
        elif not policy.baseline.contains(before):
            yield rejection(
                "BASELINE_OUTSIDE_WINDOW",
                f"The baseline was acquired {-before:.1f} h before the injection; accepted: {policy.baseline.text}. "
                "Choose another baseline.",
                round(before, 2),
                policy.baseline.text,
            )
    if hours is not None:
        yield from _delayed_window(hours, policy)


def _delayed_window(hours: float, policy: PairingPolicy) -> Iterator[Finding]:
    window = policy.delayed
    if hours <= 0:
        yield rejection(
            "INJECTION_IN_FUTURE",
            "The injection time lies after the delayed series; correct the time, or exchange the series.",
            round(hours, 2),
            window.text,
        )
    elif not window.contains(hours, policy.warn_tolerance_h):
        yield Finding(reason=outside_window(hours, policy), rejects=True)
    elif not window.contains(hours):
        yield warning(
            "DELAYED_OUTSIDE_WINDOW",
            f"The delayed series was acquired {hours:.2f} h after the injection, slightly outside {window.text}; the "
            "prediction is less certain.",
            round(hours, 2),
            window.text,
        )


def outside_window(hours: float, policy: PairingPolicy) -> Reason:
    """The reason for a scan after the injection that is not the delayed one."""
    name = policy.time_point_of(hours)
    named = f" (the {name} time point)" if name else ""
    return Reason(
        code="DELAYED_OUTSIDE_WINDOW",
        message=f"The scan was acquired {hours:.2f} h after the injection{named}; accepted: {policy.delayed.text}. "
        "Choose the scan of that time, or correct the injection time.",
        measured=round(hours, 2),
        limit=policy.delayed.text,
    )


def _clocks(
    baseline: SeriesSummary, delayed: SeriesSummary, injection_time: datetime | None, offset: tzinfo | None
) -> Iterator[Finding]:
    times = (baseline.acquired_at, injection_time, delayed.acquired_at)
    kinds = {moment.tzinfo is not None for moment in times if moment is not None}
    if len(kinds) > 1:
        yield warning(
            "TIME_ZONE_ASSUMED",
            "Some of the times state a UTC offset and others do not; those without one were taken as local to the "
            "scanner. Give the injection time in the scanner's local time.",
        )
    if injection_time is None or baseline.acquired_at is None or injection_time != contrast_start_of(delayed):
        return
    if hours_between(baseline.acquired_at, injection_time, offset) > 24:
        yield warning(
            "INJECTION_DATE_ASSUMED",
            "Contrast/Bolus Start Time (0018,1042) has no date, and the baseline is more than a day older; the day of "
            "the delayed series was taken. Make sure that the injection was not on a day before.",
        )


def _contrast(baseline: SeriesSummary, delayed: SeriesSummary) -> Iterator[Finding]:
    start, acquired = contrast_start_of(baseline), baseline.acquired_at
    given = start is not None and acquired is not None and hours_between(start, acquired, acquired.tzinfo) >= 0
    if given or is_intravenous(baseline):
        yield rejection(
            "BASELINE_ENHANCED",
            "The baseline states that contrast agent had been given; accepted: an unenhanced scan. Choose another one.",
            baseline.header.contrast_route or None,
        )
    elif baseline.header.contrast_agent.strip():
        yield warning(
            "BASELINE_ENHANCED",
            "The baseline names a contrast agent, without route or time; make sure that it is the unenhanced scan.",
        )
    if is_intravenous(delayed):
        # Consoles offer INTRAVENOUS as the preset, so a rejection would stop sites that inject intrathecally.
        yield warning(
            "CONTRAST_ROUTE_INTRAVENOUS",
            "The delayed series states an intravenous contrast agent; make sure that none was given before it, and "
            "correct Contrast/Bolus Route (0018,1040) at the scanner.",
            delayed.header.contrast_route,
            "INTRATHECAL",
        )


def _field_of_view(role: str, summary: SeriesSummary) -> Iterator[Finding]:
    header, grid = summary.header, slice_grid(summary)
    rows, columns = header.pixel_spacing_mm or (0.0, 0.0)
    covers = {
        "down": rows * (header.rows or 0),
        "across": columns * (header.columns or 0),
        "through": grid.extent_mm if grid else 0.0,
    }
    short = {name: cover for name, cover in covers.items() if 0 < cover < SHORTEST_FIELD_OF_VIEW_MM}
    if short:
        yield rejection(
            "FIELD_OF_VIEW_SHORT",
            f"The {role} series does not cover the whole head ({' and '.join(short)} its slices); accepted: at least "
            f"{SHORTEST_FIELD_OF_VIEW_MM:g} mm each way. If slices are missing, send the series again.",
            round(min(short.values()), 1),
            SHORTEST_FIELD_OF_VIEW_MM,
        )
