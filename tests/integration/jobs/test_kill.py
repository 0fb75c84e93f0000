"""kill -9 of a real worker process at every state, then a restart: one result, and no step repeated without need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.kill_rig import KILLED, assert_done_once, prepare, read_log, run, start


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("point", "log"),
    [
        ("converting", ["convert", "convert", "send", "confirm"]),
        ("converted", ["convert", "send", "confirm"]),  # the step ended, the queue had not recorded it
        ("sending", ["convert", "send", "send", "confirm"]),  # killed in step two: only step two runs again
        ("confirming", ["convert", "send", "confirm", "confirm"]),
        ("closed", ["convert", "send", "confirm"]),
    ],
)
def test_a_killed_worker_repeats_only_the_step_it_was_in(root: Path, point: str, log: list[str]) -> None:
    assert run(root, "--kill", point) == KILLED
    assert run(root, "--kill", point) == 0
    assert read_log(root) == log
    assert_done_once(root)


def test_a_lost_queue_is_rebuilt_from_the_ledger_alone(root: Path) -> None:
    assert run(root, "--kill", "sending") == KILLED
    for path in root.glob("queue.sqlite*"):
        path.unlink()
    assert run(root) == 0
    assert read_log(root) == ["convert", "send", "send", "confirm"]  # the result on disk was found again
    assert_done_once(root)


def test_the_work_of_a_dead_machine_is_taken_over_by_another(root: Path) -> None:
    assert run(root, "--kill", "sending", "--executor", "machine-a") == KILLED
    assert run(root, "--executor", "machine-b", "--silent-for", "0.5") == 0
    assert read_log(root) == ["convert", "send", "send", "confirm"]
    assert_done_once(root)


def test_two_live_workers_do_a_job_once(root: Path) -> None:
    workers = [start(root, "--executor", f"machine-{name}") for name in "ab"]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert read_log(root) == ["convert", "send", "confirm"]
    assert_done_once(root)
