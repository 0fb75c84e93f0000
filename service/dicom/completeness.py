"""Whether a series has arrived whole, from what its headers say; a clock is the last resort, and not here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from service.dicom.records import SeriesSummary
from service.dicom.summaries import SPACING_TOLERANCE, slice_grid

GRIDS_AGREE_WAIT = timedelta(seconds=5)
"""Two stacks that were cut short at the same slice are unlikely, but a sender that delivers both in step could
show them for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """What the headers tell about missing images.

    Attributes
    ----------
    state
        ``complete``: a count says that nothing is missing. ``open``: something is missing.
        ``unknown``: no slice is missing between the first and the last one; outer ones may be.
    expected, found
        Image planes; `expected` is None when nothing tells.
    reason
        Why, in words.
    """

    state: Literal["complete", "open", "unknown"]
    expected: int | None
    found: int
    reason: str


def completeness(summary: SeriesSummary) -> Completeness:
    """Judge one series by its slice grid, its frame counts and Images in Acquisition (0020,1002).

    Images in Acquisition counts an acquisition, which may hold several series or echoes, and some vendors
    write 1. It counts here only when it equals the planes found, or when it is larger and no multiple of them:
    then no split into equal parts explains the difference.
    """
    grid = slice_grid(summary)
    found = max(summary.n_frames, len(summary.sop_instance_uids))
    if grid is not None and grid.n_missing:
        expected = grid.n_planes + grid.n_missing
        return Completeness(
            state="open", expected=expected, found=grid.n_planes, reason=f"{grid.n_missing} slices are missing between"
        )
    if len(summary.sop_instance_uids) == 1 and summary.header.n_frames > 1:
        return Completeness(
            state="complete", expected=found, found=found, reason="all frames are in one multi-frame instance"
        )
    stated = summary.header.images_in_acquisition
    if stated == found:
        return Completeness(
            state="complete", expected=stated, found=found, reason="the image count that the scanner states is reached"
        )
    if stated is not None and stated > found and stated % found:
        return Completeness(
            state="open", expected=stated, found=found, reason="the image count that the scanner states is not reached"
        )
    if grid is None:
        return Completeness(state="unknown", expected=None, found=found, reason="the slices have no known order")
    return Completeness(
        state="unknown", expected=None, found=found, reason="no slice is missing between the first and the last"
    )


def wait_for_pair(baseline: SeriesSummary, delayed: SeriesSummary) -> timedelta | None:
    """How long nothing more of either series may arrive before the pair is whole.

    Zero when counts say so for both; `GRIDS_AGREE_WAIT` when both slice grids are closed and have as many
    slices and the same extent, as one protocol gives; None (a quiet time must tell) otherwise.
    """
    states = {completeness(baseline).state, completeness(delayed).state}
    if states == {"complete"}:
        return timedelta(0)
    grids = slice_grid(baseline), slice_grid(delayed)
    if "open" in states or grids[0] is None or grids[1] is None:
        return None
    same_number = grids[0].n_planes == grids[1].n_planes
    same_extent = abs(grids[0].extent_mm - grids[1].extent_mm) <= SPACING_TOLERANCE * grids[0].extent_mm
    return GRIDS_AGREE_WAIT if same_number and same_extent else None
