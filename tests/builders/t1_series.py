"""Summaries of 3D T1 head series: sagittal, 170 slices of 1 mm, 256 x 256, as a Philips scanner writes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.summaries import summarise
from tests.builders.received import make_header

N_SLICES = 170
INJECTION = datetime(2026, 3, 4, 9, 30)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def after(hours: float) -> datetime:
    """A time so many hours after the injection."""
    return INJECTION + timedelta(seconds=round(hours * 3600))


def t1_headers(
    series: int = 1,
    acquired_at: datetime | None = INJECTION,
    *,
    slices: Iterable[int] = range(N_SLICES),
    spacing: float = 1.0,
    **changes: object,
) -> list[InstanceHeader]:
    """The headers of a series, one for each slice; `slices` leaves some out."""
    facts: dict[str, object] = {
        "rows": 256,
        "columns": 256,
        "repetition_time_ms": 6.5,
        "echo_time_ms": 2.93,
        "flip_angle_deg": 9.0,
        "slice_thickness_mm": spacing,
        "image_orientation": SAGITTAL,
        "acquired_at": acquired_at,
    }
    return [
        make_header(series, number + 1, **{"positions_mm": (number * spacing - 85.0,), **facts, **changes})
        for number in slices
    ]


def t1_series(
    series: int = 1,
    acquired_at: datetime | None = INJECTION,
    *,
    slices: Iterable[int] = range(N_SLICES),
    spacing: float = 1.0,
    **changes: object,
) -> SeriesSummary:
    """The summary of `t1_headers`."""
    return summarise(t1_headers(series, acquired_at, slices=slices, spacing=spacing, **changes))
