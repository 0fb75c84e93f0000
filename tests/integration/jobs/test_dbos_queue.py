from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import PeerUnavailable, StorageUnavailable
from service.jobs import dbos_queue
from service.jobs.dbos_queue import DbosQueue
from service.jobs.port import JobCounts
from service.jobs.retry import RetryPolicy
from tests.builders.scripted_steps import ScriptedSteps

MakeQueue = Callable[..., DbosQueue]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[MakeQueue]:
    running: list[DbosQueue] = []

    def start(steps: ScriptedSteps, pause_s: float = 0.05, executor_id: str = "worker-0") -> DbosQueue:
        queue = DbosQueue(
            steps,
            database_url=f"sqlite:///{tmp_path}/queue.sqlite",
            executor_id=executor_id,
            policy=RetryPolicy(first_pause_s=pause_s, factor=1.0),
            poll_interval_s=0.05,
        )
        queue.start()
        running.append(queue)
        return queue

    yield start
    for queue in running:
        queue.stop(0)


def _ended(steps: ScriptedSteps, n: int = 1) -> Callable[[], bool]:
    return lambda: steps.names().count("close") + steps.names().count("fail") == n


def test_a_job_submitted_six_times_runs_once_and_opens_no_connection(
    start: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: peers.append(address))
    steps = ScriptedSteps()
    queue = start(steps)
    for _ in range(3):
        queue.submit("c1", 1)
        queue.submit("c2", 1)
    _wait_for(_ended(steps, 2))
    _wait_for(lambda: queue.states() == JobCounts(waiting=0, running=0))
    assert steps.names().count("convert") == 2
    assert peers == []


def test_an_outage_holds_up_its_own_cases_only(start: MakeQueue) -> None:
    back = threading.Event()

    def deliver(number: int) -> None:
        if not back.is_set():
            raise PeerUnavailable("down")

    steps = ScriptedSteps(script={"deliver": deliver})
    queue = start(steps)
    for number in range(3):
        queue.submit(f"c{number}", 1)
    _wait_for(lambda: steps.names().count("convert") == 3)
    _wait_for(lambda: steps.names().count("retrying") > 3)
    assert "close" not in steps.names()
    back.set()
    _wait_for(_ended(steps, 3))
    assert "fail" not in steps.names()


def test_a_bug_in_one_case_leaves_the_next_unaffected(start: MakeQueue) -> None:
    def convert(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError

    steps = ScriptedSteps(script={"convert": convert})
    queue = start(steps)
    queue.submit("c1", 1)
    queue.submit("c2", 1)
    _wait_for(_ended(steps, 2))
    assert sorted(name for name in steps.names() if name in ("fail", "close")) == ["close", "fail"]


def test_stopping_in_a_long_pause_is_quick_and_the_job_goes_on_after_a_restart(start: MakeQueue) -> None:
    steps = ScriptedSteps(script={"deliver": lambda number: (_ for _ in ()).throw(PeerUnavailable("down"))})
    queue = start(steps, pause_s=3600)
    queue.submit("c1", 1)
    _wait_for(lambda: "retrying" in steps.names())
    queue.stop(0)

    healed = ScriptedSteps()
    start(healed)
    _wait_for(_ended(healed))
    assert "convert" not in healed.names()  # that step was recorded
    assert healed.names()[-1] == "close"


def test_a_job_of_an_older_workflow_starts_anew_instead_of_being_stranded(
    start: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ScriptedSteps(script={"deliver": lambda number: (_ for _ in ()).throw(PeerUnavailable("down"))})
    with monkeypatch.context() as older:
        older.setattr(dbos_queue, "WORKFLOW_SHAPE", "csf24-workflow-0")
        queue = start(steps, pause_s=3600)
        queue.submit("c1", 1)
        _wait_for(lambda: "retrying" in steps.names())
        queue.stop(0)

    updated = ScriptedSteps()
    queue = start(updated)
    queue.submit("c1", 1)
    _wait_for(_ended(updated))
    assert updated.names()[0] == "convert"


def test_a_job_the_queue_believes_ended_runs_again_when_the_ledger_says_otherwise(start: MakeQueue) -> None:
    steps = ScriptedSteps()
    queue = start(steps)
    queue.submit("c1", 1)
    _wait_for(lambda: _ended(steps)() and queue.states().running == 0)
    queue.submit("c1", 1)
    _wait_for(_ended(steps, 2))


def test_a_queue_whose_database_is_gone_says_so_in_our_words(start: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = start(ScriptedSteps())

    def fail(**_: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr("service.jobs.dbos_queue.DBOS.list_workflows", fail)
    with pytest.raises(StorageUnavailable, match="OSError"):
        queue.states()
