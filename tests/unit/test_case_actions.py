"""What a person's release of a held case means for its times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.case_actions import hours_after_injection
from service.config import load_config
from service.storage.ledger import Ledger
from tests.builders.received import NOON, make_stored, series_uid
from tests.builders.t1_series import INJECTION, after, t1_headers

CONFIG = load_config(None, {})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """With a pair: 1 h before and 1.5 h after the injection, which no header states."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    for series, hours in ((1, -1.0), (2, 1.5)):
        for header in t1_headers(series, after(hours), slices=range(75), spacing=2.0):
            ledger.instances.record(make_stored(header, at=NOON), header)
    yield ledger
    ledger.close()


@pytest.mark.parametrize(
    ("injected", "hours"),
    [
        (INJECTION, 1.5),
        (INJECTION - timedelta(minutes=30), 2.0),
        (INJECTION + timedelta(hours=2), -0.5),  # also what the checks will refuse has a time to be shown with
        (None, None),
    ],
)
def test_hours_run_from_the_time_that_was_supplied(
    ledger: Ledger, injected: datetime | None, hours: float | None
) -> None:
    assert hours_after_injection(ledger, series_uid(1), series_uid(2), injected, CONFIG) == hours


def test_a_series_of_which_nothing_is_left_has_no_time(ledger: Ledger) -> None:
    assert hours_after_injection(ledger, series_uid(1), series_uid(9), INJECTION, CONFIG) is None
    assert hours_after_injection(ledger, series_uid(9), series_uid(2), INJECTION, CONFIG) is None
