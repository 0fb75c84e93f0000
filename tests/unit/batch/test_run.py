from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from service.batch.cases import BatchCase, RefusedCase
from service.batch.run import run_batch
from service.errors import ModelError, Reason
from tests.builders.batch import cases_below, conversions, no_converter, request_for, small_pair, told_converter
from tests.builders.programs import wait_until

REFUSED = RefusedCase(case_id="r", reasons=(Reason(code="BASELINE_MISSING", message="None."),))


@pytest.fixture
def patients(tmp_path: Path) -> tuple[BatchCase, ...]:
    for number in range(3):
        small_pair(tmp_path / "src", f"P{number}")
    return cases_below(tmp_path / "src")


def outcomes(
    cases: tuple[BatchCase, ...], folder: Path, behaviour: dict[str, str], *, jobs: int = 1
) -> dict[str, tuple[str, bool]]:
    """(outcome, whether it was there already) by case id."""
    made = told_converter(behaviour, folder / "journal")
    found = run_batch(cases, request_for(folder / "out"), made, jobs=jobs)
    return {case.case_id: (report["outcome"], kept) for case, report, kept in found}


def codes(folder: Path, case: BatchCase) -> list[str]:
    report = json.loads((folder / "out" / case.case_id / "report.json").read_text())
    return [reason["code"] for reason in report["reasons"]]


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_case_is_converted_and_none_twice(patients: tuple[BatchCase, ...], tmp_path: Path, jobs: int) -> None:
    cases = (REFUSED, *patients)
    first = outcomes(cases, tmp_path, {patients[1].case_id: "refuse"}, jobs=jobs)
    assert first == {
        "r": ("refused", False),
        patients[0].case_id: ("predicted", False),
        patients[1].case_id: ("refused", False),
        patients[2].case_id: ("predicted", False),
    }
    again = outcomes(cases, tmp_path, {}, jobs=jobs)
    assert again == {case: (outcome, True) for case, (outcome, _) in first.items()}
    assert sorted(conversions(tmp_path / "journal")) == sorted(case.case_id for case in patients)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_crash_costs_one_case_which_the_next_run_takes_up(
    patients: tuple[BatchCase, ...], tmp_path: Path, jobs: int
) -> None:
    first, crashed, third = (case.case_id for case in patients)
    found = outcomes(patients, tmp_path, {crashed: "crash"}, jobs=jobs)
    assert found == {first: ("predicted", False), crashed: ("failed", False), third: ("predicted", False)}
    assert codes(tmp_path, patients[1]) == ["INTERNAL_ERROR"]
    found = outcomes(patients, tmp_path, {}, jobs=jobs)
    assert found == {first: ("predicted", True), crashed: ("predicted", False), third: ("predicted", True)}


def test_a_killed_worker_costs_its_case_and_not_the_batch(patients: tuple[BatchCase, ...], tmp_path: Path) -> None:
    first, killed, third = (case.case_id for case in patients)
    found = outcomes(patients, tmp_path, {killed: "die"}, jobs=2)
    assert found == {first: ("predicted", False), killed: ("failed", False), third: ("predicted", False)}
    assert codes(tmp_path, patients[1]) == ["WORKER_DIED"]
    assert [path.name for path in (tmp_path / "out" / killed).iterdir()] == ["report.json"]
    # Once beside others, once alone; whoever shared its pool is not blamed.
    assert conversions(tmp_path / "journal").count(killed) == 2


def test_a_batch_of_nothing_but_deadly_cases_ends(patients: tuple[BatchCase, ...], tmp_path: Path) -> None:
    found = outcomes(patients, tmp_path, {case.case_id: "die" for case in patients}, jobs=2)
    assert set(found.values()) == {("failed", False)}
    assert len(found) == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_without_a_converter_the_batch_says_why_and_refusals_are_written(
    patients: tuple[BatchCase, ...], tmp_path: Path, jobs: int
) -> None:
    running = run_batch((*patients, REFUSED), request_for(tmp_path / "out"), no_converter, jobs=jobs)
    case, report, _ = next(running)
    assert (case.case_id, report["outcome"]) == ("r", "refused")
    with pytest.raises(ModelError, match="no model today"):
        list(running)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["r"]


def test_refusals_alone_need_no_model(tmp_path: Path) -> None:
    ((_, report, _),) = run_batch((REFUSED,), request_for(tmp_path), no_converter)
    assert report["outcome"] == "refused"


def test_whoever_stops_iterating_ends_the_workers(patients: tuple[BatchCase, ...], tmp_path: Path) -> None:
    behaviour = {case.case_id: "sleep" for case in patients[1:]}
    running = run_batch(patients, request_for(tmp_path / "out"), told_converter(behaviour, tmp_path / "j"), jobs=2)
    assert next(running)[0] == patients[0]
    start = time.monotonic()
    running.close()
    assert time.monotonic() - start < 20  # the sleepers would take a minute
    wait_until(lambda: not multiprocessing.active_children(), timeout_s=10)


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    (case,) = cases_below(tmp_path / "src")
    copies = tuple(_renamed(case, f"c{number}") for number in range(12))
    peaks = []
    tracemalloc.start()
    try:
        for _ in run_batch(copies, request_for(tmp_path / "out"), told_converter({}, tmp_path / "j")):
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    one_pair = sum(len(source.read()) for source in case.baseline.files) * 2
    assert one_pair < peaks[0] < 3 * one_pair + 1_000_000
    assert peaks[-1] - peaks[1] < one_pair / 4


def _renamed(case: BatchCase, case_id: str) -> BatchCase:
    return replace(case, case_id=case_id)


_BATCH = """
import sys
from pathlib import Path
from service.batch.run import run_batch
from tests.builders.batch import cases_below, request_for, told_converter

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    cases = cases_below(folder / "src")
    behaviour = {case.case_id: "sleep" for case in cases}
    try:
        list(run_batch(cases, request_for(folder / "out"), told_converter(behaviour, folder / "journal"), jobs=2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_their_batch(patients: tuple[BatchCase, ...], tmp_path: Path, number: int) -> None:
    (tmp_path / "batch.py").write_text(_BATCH)
    repository = Path(__file__).parents[3]
    started = subprocess.Popen(
        [sys.executable, str(tmp_path / "batch.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repository)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(conversions(tmp_path / "journal")) == 2, timeout_s=60)
    assert len(_processes_of(started.pid)) >= 3
    if number == signal.SIGINT:
        os.killpg(started.pid, number)  # as Ctrl-C at a terminal does
    else:
        started.send_signal(number)
    _, said = started.communicate(timeout=20)
    assert started.returncode == (130 if number == signal.SIGINT else -number)
    wait_until(lambda: not _processes_of(started.pid), timeout_s=10)
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("report.json"))


def _processes_of(session: int) -> list[int]:
    """Processes of a session that still run, from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(path.parent.name))
    return found
