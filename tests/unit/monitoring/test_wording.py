from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.monitoring import wording


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_500_000, "5.5 MB"), (412e9, "412 GB"), (1.2e12, "1.2 TB")],
)
def test_sizes_are_decimal(n_bytes, text):
    assert wording.size(int(n_bytes)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7500, "2 h 05 min"),
        (86400 * 4 + 21600, "4 d 6 h"),
    ],
)
def test_durations_keep_the_units_that_matter(seconds, text):
    assert wording.duration(timedelta(seconds=seconds)) == text


def test_a_moment_is_shown_in_the_zone_it_comes_in():
    oslo = timezone(timedelta(hours=2), "CEST")
    now = datetime(2026, 9, 10, 0, 30, tzinfo=oslo)

    assert wording.moment(datetime(2026, 9, 10, 0, 5, tzinfo=oslo), now) == "00:05"
    assert wording.moment(datetime(2026, 9, 9, 23, 55, tzinfo=oslo), now) == "2026-09-09 23:55"
    assert wording.timestamp(now) == "2026-09-10 00:30:00 CEST"
    assert wording.timestamp(now.astimezone(UTC)) == "2026-09-09 22:30:00 UTC"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0"), (12.34567, "12.35"), (1e-9, "1e-09"), ("3 axes", "3 axes")]
)
def test_figures_keep_four_digits(value, text):
    assert wording.figure(value) == text
