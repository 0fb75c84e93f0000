"""Slices that come after their series was used: the result is made anew from all of them, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.cases import CaseState
from service.errors import Reason
from tests.builders.pairing_site import CASE, Site, scan, soon
from tests.builders.received import NOON

S = CaseState
PACS_IS_DOWN = Reason(code="PEER_UNAVAILABLE", message="no association")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def _every_5_s(since: datetime, until: datetime) -> Iterator[datetime]:
    while since <= until:
        yield since
        since += timedelta(seconds=5)


def _pair_up(site: Site) -> None:
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON)
    site.look(soon(seconds=30))
    assert site.case().state is S.QUEUED


def test_a_slice_that_comes_while_the_pacs_is_down_is_in_the_result_that_follows(site: Site) -> None:
    _pair_up(site)
    site.move(S.RUNNING, S.SENDING, at=soon(seconds=31))
    site.ledger.cases.fail(CASE, 1, [PACS_IS_DOWN], retrying=True, now=soon(seconds=70))
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=80))
    site.look(*_every_5_s(soon(seconds=81), soon(seconds=200)))
    assert (site.case().state, site.case().revision) == (S.FAILED, 1)
    site.move(S.SENDING, S.DONE, at=soon(seconds=210))
    site.look(*_every_5_s(soon(seconds=211), soon(seconds=300)))
    assert (site.case().state, site.case().revision) == (S.QUEUED, 2)


def test_a_slice_that_comes_for_a_case_that_waits_for_a_person_is_looked_at_once(site: Site) -> None:
    _pair_up(site)
    site.move(S.RUNNING, at=soon(seconds=31))
    site.ledger.cases.fail(CASE, 1, [PACS_IS_DOWN], retrying=False, now=soon(seconds=70))
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=80))
    site.look(*_every_5_s(soon(seconds=81), soon(seconds=120)))
    assert site.ledger.instances.patients_with_unsettled_series() == ()
    assert (site.case().state, site.case().revision) == (S.FAILED, 1)  # retried, it has them all
