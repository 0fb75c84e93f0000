from __future__ import annotations

from dataclasses import replace

import pytest

from service.monitoring.readiness import not_ready
from service.monitoring.snapshot import DiskView
from tests.builders.status import snapshot

LISTENER = snapshot().listener


def test_a_healthy_service_is_ready_although_a_destination_does_not_answer():
    assert any(peer.answers is False for peer in snapshot().peers)
    assert not_ready(snapshot()) == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ledger": None, "ledger_problem": "the ledger failed: OperationalError"}, "LEDGER_UNREACHABLE"),
        ({"listener": replace(LISTENER, listening=False)}, "LISTENER_DOWN"),
        ({"disk": DiskView(free_bytes=10**9, total_bytes=10**12, required_bytes=2 * 10**9)}, "DISK_SHORT"),
    ],
)
def test_each_fault_is_named(changes, code):
    (reason,) = not_ready(snapshot(**changes))

    assert reason.code == code


def test_a_short_disk_says_how_short():
    (reason,) = not_ready(
        snapshot(disk=DiskView(free_bytes=1_400_000_000, total_bytes=10**12, required_bytes=2_147_483_648))
    )

    assert (reason.measured, reason.limit) == ("1.4 GB", "at least 2.1 GB")


def test_exactly_the_required_space_is_enough():
    assert not_ready(snapshot(disk=DiskView(free_bytes=5, total_bytes=10, required_bytes=5))) == ()


def test_several_faults_are_all_named():
    down = snapshot(
        ledger=None,
        listener=replace(LISTENER, listening=False),
        disk=DiskView(free_bytes=0, total_bytes=1, required_bytes=1),
    )

    assert [reason.code for reason in not_ready(down)] == ["LEDGER_UNREACHABLE", "LISTENER_DOWN", "DISK_SHORT"]


def test_a_process_that_only_works_needs_no_listener():
    assert not_ready(snapshot(listener=None)) == ()
