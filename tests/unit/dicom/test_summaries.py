from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.summaries import SPACING_TOLERANCE, slice_grid, summarise
from service.errors import InputRefused
from tests.builders.received import make_header, sop_uid
from tests.builders.t1_series import N_SLICES, t1_headers, t1_series


def test_a_whole_series_has_no_faults_and_its_slices_in_order() -> None:
    headers = t1_headers()
    random.Random(3).shuffle(headers)
    summary = summarise(headers)
    assert summary.faults == ()
    assert summary.sop_instance_uids == tuple(sop_uid(1, number + 1) for number in range(N_SLICES))
    assert list(summary.positions_mm) == [float(k) - 85.0 for k in range(N_SLICES)]
    assert summary.header.instance_number == 1


def test_slices_sent_from_the_other_end_give_the_same_summary() -> None:
    assert summarise(list(reversed(t1_headers()))) == summarise(t1_headers())


@given(st.permutations(range(8)))
def test_the_order_of_arrival_changes_nothing(order: list[int]) -> None:
    headers = t1_headers(slices=range(8), images_in_acquisition=8)
    assert summarise([headers[k] for k in order]) == summarise(headers)


def test_the_acquisition_began_with_the_earliest_instance() -> None:
    began = datetime(2026, 3, 4, 8, 0)
    headers = [
        replace(h, acquired_at=began + timedelta(seconds=200 - 2 * k))
        for k, h in enumerate(t1_headers(slices=range(90)))
    ]
    assert summarise(headers).acquired_at == began + timedelta(seconds=22)


def test_times_with_and_without_an_offset_in_one_series_compare_by_the_clock() -> None:
    local = datetime(2026, 3, 4, 8, 0)
    headers = t1_headers(slices=range(2))
    mixed = [replace(headers[0], acquired_at=local), replace(headers[1], acquired_at=local.replace(hour=7, tzinfo=UTC))]
    assert summarise(mixed).acquired_at == datetime(2026, 3, 4, 7, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image_orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, "MIXED_ORIENTATION"),
        ({"rows": 512}, "MIXED_MATRIX"),
        ({"pixel_spacing_mm": (0.5, 0.5)}, "MIXED_SPACING"),
        ({"pixel_spacing_mm": None}, "NO_SPACING"),
        ({"image_orientation": None}, "MISSING_GEOMETRY"),
        ({"positions_mm": ()}, "MISSING_GEOMETRY"),
        ({"n_frames": 2}, "MISSING_GEOMETRY"),
        ({"has_pixel_data": False}, "MISSING_PIXEL_DATA"),
        ({"patient_birth_date": "19600101"}, "MIXED_PATIENT"),
        ({"issuer_of_patient_id": "ELSEWHERE"}, "MIXED_PATIENT"),
        ({"positions_mm": (-80.0,)}, "DUPLICATE_POSITION"),
    ],
)
def test_one_instance_that_contradicts_the_others_is_told(change: dict[str, object], fault: str) -> None:
    headers = t1_headers()
    headers[-1] = replace(headers[-1], **change)
    assert fault in summarise(headers).faults


def test_a_missing_slice_is_a_gap() -> None:
    summary = t1_series(slices=[k for k in range(N_SLICES) if k != 60])
    grid = slice_grid(summary)
    assert summary.faults == ("SLICE_GAP",)
    assert grid is not None
    assert (grid.n_planes, grid.n_missing, grid.extent_mm) == (N_SLICES - 1, 1, float(N_SLICES))


@given(st.sets(st.integers(1, N_SLICES - 2), min_size=1, max_size=40))
def test_every_missing_inner_slice_is_counted(missing: set[int]) -> None:
    grid = slice_grid(t1_series(slices=[k for k in range(N_SLICES) if k not in missing]))
    assert grid is not None
    assert grid.n_missing == len(missing)


def test_every_other_slice_missing_is_a_gap_since_3d_slices_touch() -> None:
    grid = slice_grid(t1_series(slices=range(0, N_SLICES, 2)))
    assert grid is not None
    assert (grid.spacing_mm, grid.n_missing) == (1.0, 84)


def test_slices_that_overlap_by_half_are_no_fault() -> None:
    summary = t1_series(slices=range(340), spacing=0.5, slice_thickness_mm=1.0)
    grid = slice_grid(summary)
    assert summary.faults == ()
    assert grid is not None
    assert (grid.spacing_mm, grid.extent_mm) == (0.5, 170.0)


@pytest.mark.parametrize(("share", "faults"), [(0.9, ()), (1.1, ("UNEVEN_SLICES",))])
def test_slices_may_lie_off_the_grid_by_the_tolerance(share: float, faults: tuple[str, ...]) -> None:
    headers = t1_headers()
    headers[-1] = replace(headers[-1], positions_mm=(headers[-1].positions_mm[0] + share * SPACING_TOLERANCE,))
    assert summarise(headers).faults == faults


def test_the_frames_of_a_multi_frame_instance_are_its_planes() -> None:
    frames = tuple(float(k) for k in reversed(range(N_SLICES)))
    summary = summarise([make_header(n_frames=N_SLICES, positions_mm=frames)])
    assert summary.faults == ()
    assert summary.positions_mm == tuple(sorted(frames))
    assert summary.n_frames == N_SLICES


def test_a_single_slice_has_no_grid() -> None:
    assert slice_grid(t1_series(slices=[5])) is None


def test_nothing_and_a_mixture_of_series_cannot_be_summarised() -> None:
    with pytest.raises(InputRefused, match="SERIES_EMPTY"):
        summarise([])
    with pytest.raises(InputRefused, match="SEVERAL_SERIES"):
        summarise([make_header(1), make_header(2)])


def test_an_offset_is_kept() -> None:
    zone = timezone(timedelta(hours=1))
    summary = t1_series(acquired_at=datetime(2026, 3, 4, 8, 0, tzinfo=zone))
    assert summary.acquired_at == datetime(2026, 3, 4, 7, 0, tzinfo=UTC)
