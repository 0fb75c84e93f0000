from __future__ import annotations

from datetime import timedelta

import pytest

from service.dicom.completeness import GRIDS_AGREE_WAIT, completeness, wait_for_pair
from service.dicom.summaries import summarise
from tests.builders.received import make_header
from tests.builders.t1_series import N_SLICES, t1_series


def test_a_series_with_a_gap_is_open_and_says_how_many_slices_are_missing() -> None:
    judged = completeness(t1_series(slices=[k for k in range(N_SLICES) if k not in (40, 41, 99)]))
    assert (judged.state, judged.expected, judged.found) == ("open", N_SLICES, N_SLICES - 3)


def test_a_gap_is_open_even_when_a_count_says_otherwise() -> None:
    gappy = [k for k in range(N_SLICES) if k != 40]
    assert completeness(t1_series(slices=gappy, images_in_acquisition=N_SLICES - 1)).state == "open"


def test_a_closed_stack_without_a_count_may_lack_its_ends() -> None:
    judged = completeness(t1_series())
    assert (judged.state, judged.expected, judged.found) == ("unknown", None, N_SLICES)


@pytest.mark.parametrize(
    ("stated", "state"),
    [
        (N_SLICES, "complete"),
        (N_SLICES + 1, "open"),  # the last slice, which no gap shows
        (2 * N_SLICES, "unknown"),  # two echoes or two series of one acquisition
        (1, "unknown"),  # some vendors
        (N_SLICES - 30, "unknown"),  # interpolated afterwards
        (None, "unknown"),
    ],
)
def test_images_in_acquisition_counts_where_it_is_plausible(stated: int | None, state: str) -> None:
    assert completeness(t1_series(images_in_acquisition=stated)).state == state


def test_a_multi_frame_instance_is_complete() -> None:
    frames = tuple(float(k) for k in range(N_SLICES))
    judged = completeness(summarise([make_header(n_frames=N_SLICES, positions_mm=frames)]))
    assert (judged.state, judged.expected) == ("complete", N_SLICES)


def test_a_multi_frame_instance_with_a_gap_is_open() -> None:
    frames = tuple(float(k) for k in range(N_SLICES) if k != 7)
    assert completeness(summarise([make_header(n_frames=N_SLICES - 1, positions_mm=frames)])).state == "open"


def test_a_pair_whose_counts_are_reached_waits_for_nothing() -> None:
    counted = [t1_series(series, images_in_acquisition=N_SLICES) for series in (1, 2)]
    assert wait_for_pair(*counted) == timedelta(0)


def test_a_multi_frame_series_and_a_counted_one_wait_for_nothing() -> None:
    frames = tuple(float(k) for k in range(N_SLICES))
    enhanced = summarise([make_header(n_frames=N_SLICES, positions_mm=frames)])
    assert wait_for_pair(enhanced, t1_series(2, images_in_acquisition=N_SLICES)) == timedelta(0)


def test_two_stacks_that_agree_wait_a_moment() -> None:
    assert wait_for_pair(t1_series(1), t1_series(2)) == GRIDS_AGREE_WAIT
    assert wait_for_pair(t1_series(1, images_in_acquisition=N_SLICES), t1_series(2)) == GRIDS_AGREE_WAIT


@pytest.mark.parametrize("fewer", [range(N_SLICES - 1), range(1, N_SLICES), [k for k in range(N_SLICES) if k != 9]])
def test_a_stack_that_lacks_a_slice_of_the_other_waits_for_quiet(fewer: list[int]) -> None:
    assert wait_for_pair(t1_series(1), t1_series(2, slices=fewer)) is None
    assert wait_for_pair(t1_series(1, slices=fewer), t1_series(2)) is None


def test_as_many_slices_of_another_thickness_wait_for_quiet() -> None:
    assert wait_for_pair(t1_series(1), t1_series(2, spacing=1.2)) is None
