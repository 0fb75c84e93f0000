from __future__ import annotations

from threading import Event

import pytest
import structlog

from service.errors import InputRefused, ModelError, PeerUnavailable, Reason, StorageUnavailable
from service.jobs.executor import claim_executor_slot
from service.jobs.memory_queue import MemoryQueue
from service.jobs.port import CaseSuperseded
from service.jobs.retry import GaveUp, RetryPolicy, WorkerStopping, persist
from tests.builders.scripted_steps import ScriptedSteps

AT_ONCE = RetryPolicy(first_pause_s=0.0)


def _raise(fault: Exception, times: int = 10**9):
    def step(number: int) -> None:
        if number <= times:
            raise fault

    return step


def _run(steps: ScriptedSteps, policy: RetryPolicy = AT_ONCE) -> list[tuple[object, ...]]:
    queue = MemoryQueue(steps, policy=policy)
    queue.submit("c1", 1)
    queue.submit("c1", 1)
    queue.drain()
    return steps.calls


def test_a_case_goes_from_conversion_to_close_per_destination() -> None:
    assert _run(ScriptedSteps(("PACS", "STATION"))) == [
        ("convert", "c1", 1),
        ("deliver", "PACS"),
        ("deliver", "PACS"),
        ("confirm", "PACS"),
        ("deliver", "STATION"),
        ("deliver", "STATION"),
        ("confirm", "STATION"),
        ("close", "c1", 1),
    ]


def test_a_case_without_destinations_is_closed_after_conversion() -> None:
    assert _run(ScriptedSteps(())) == [("convert", "c1", 1), ("close", "c1", 1)]


def test_a_peer_that_comes_back_gets_its_delivery_and_the_case_was_red_meanwhile() -> None:
    steps = ScriptedSteps(script={"deliver": _raise(PeerUnavailable("down"), times=3)})
    names = [call[0] for call in _run(steps)]
    assert names.count("retrying") == 3
    assert steps.calls[2] == ("retrying", "PEER_UNAVAILABLE")
    assert names[-1] == "close"


def test_an_unconfirmed_delivery_is_never_closed() -> None:
    steps = ScriptedSteps(script={"confirm": lambda number: number > 2})
    names = [call[0] for call in _run(steps)]
    assert names.count("confirm") == 3
    assert names.index("close") > max(i for i, name in enumerate(names) if name == "confirm")


def test_a_permanent_fault_fails_the_case_with_its_reason() -> None:
    assert _run(ScriptedSteps(script={"convert": _raise(ModelError("altered"))})) == [
        ("convert", "c1", 1),
        ("fail", "MODEL_ERROR"),
    ]


def test_a_refusal_that_escapes_keeps_all_its_reasons() -> None:
    refusal = InputRefused(Reason(code="A", message="a"), Reason(code="B", message="b"))
    assert _run(ScriptedSteps(script={"convert": _raise(refusal)}))[-1] == ("fail", "A", "B")


def test_one_destination_that_refuses_for_good_does_not_keep_the_other_waiting() -> None:
    steps = ScriptedSteps(("OLD", "PACS"), {"deliver": _raise(ModelError("no such SOP class"), times=1)})
    calls = _run(steps)
    assert ("confirm", "PACS") in calls
    assert ("confirm", "OLD") not in calls
    assert calls[-1] == ("fail", "MODEL_ERROR")


def test_a_job_that_was_superseded_ends_in_silence() -> None:
    for step in ("convert", "deliver", "confirm", "close"):
        names = [call[0] for call in _run(ScriptedSteps(script={step: _raise(CaseSuperseded("discarded"))}))]
        assert names[-1] == step
        assert "fail" not in names


def test_a_bug_fails_its_case_and_leaks_nothing_into_the_log() -> None:
    with structlog.testing.capture_logs() as logs:
        calls = _run(ScriptedSteps(script={"convert": _raise(KeyError("DOE^JANE"))}))
    assert calls[-1] == ("fail", "INTERNAL_ERROR")
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["kind"] == "KeyError"
    assert "DOE" not in str(entry)


def test_a_ledger_that_fails_while_a_retry_is_shown_does_not_end_the_retries() -> None:
    script = {
        "deliver": _raise(PeerUnavailable("down"), times=2),
        "retrying": _raise(StorageUnavailable("ledger"), times=2),
    }
    assert _run(ScriptedSteps(script=script))[-1][0] == "close"


def test_pauses_grow_up_to_a_cap() -> None:
    policy = RetryPolicy(first_pause_s=2, factor=3, longest_pause_s=20)
    assert [policy.pause_s(n) for n in (1, 2, 3, 4, 10_000)] == [2, 6, 18, 20, 20]


def test_a_policy_with_an_end_gives_up() -> None:
    steps = ScriptedSteps(script={"deliver": _raise(PeerUnavailable("down"))})
    calls = _run(steps, RetryPolicy(first_pause_s=0.001, factor=1, give_up_after_s=0.0045))
    assert [call[0] for call in calls].count("deliver") == 5
    assert calls[-1] == ("fail", "GAVE_UP")


def test_stopping_ends_a_pause_and_is_no_result_of_the_step() -> None:
    stopping = Event()

    def action() -> None:
        stopping.set()
        raise PeerUnavailable("down")

    with pytest.raises(WorkerStopping):
        persist(action, policy=RetryPolicy(first_pause_s=3600), stopping=stopping, on_retry=lambda fault: None)
    assert not issubclass(WorkerStopping, Exception)
    assert issubclass(GaveUp, Exception)


def test_live_workers_never_share_an_identity_and_a_restarted_one_gets_its_own_back(tmp_path) -> None:
    first, second = (claim_executor_slot(tmp_path, "host") for _ in range(2))
    assert (first.executor_id, second.executor_id) == ("host-0", "host-1")
    first.release()
    again = claim_executor_slot(tmp_path, "host")
    assert again.executor_id == "host-0"
    again.release()
    second.release()
