"""Starts the worker program, and judges what it left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from service.cases import CaseState, case_id_for
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from tests.builders.received import NOON, make_header, series_uid, spool_one

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / "tests/integration/jobs/worker_program.py"
CASE = case_id_for(series_uid(1), series_uid(2))
KILLED = -signal.SIGKILL


def start(root: Path, *options: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, str(PROGRAM), str(root), *options], env=environment, cwd=root)


def run(root: Path, *options: str) -> int:
    return start(root, *options).wait(timeout=60)


def read_log(root: Path) -> list[str]:
    path = root / "log"
    return path.read_text().split() if path.exists() else []


def prepare(root: Path, ledger_url: str | None = None) -> None:
    """One queued case of two series with one instance each."""
    spool = Spool(root / "spool", min_free_bytes=0)
    ledger = Ledger.open(ledger_url or f"sqlite:///{root}/ledger.sqlite")
    for series in (1, 2):
        header = make_header(series)
        ledger.instances.record(spool_one(spool, header), header)
    ledger.cases.open(
        CASE,
        state=CaseState.QUEUED,
        patient_key="k",
        baseline_series_uid=series_uid(1),
        delayed_series_uid=series_uid(2),
        now=NOON,
    )
    ledger.close()
    spool.close()


def assert_done_once(root: Path, ledger_url: str | None = None) -> None:
    ledger = Ledger.open(ledger_url or f"sqlite:///{root}/ledger.sqlite")
    case = ledger.cases.case(CASE)
    kinds = [event.kind for event in ledger.cases.events(CASE)]
    ledger.close()
    assert (case.state, case.revision, case.delivered, case.deliverable) == (CaseState.DONE, 1, 3, 3)
    assert kinds.count("done") == 1
    archived = {path.name: set(path.read_text().splitlines()) for path in (root / "pacs").iterdir()}
    # The same object may arrive twice; it must be the same object.
    assert archived == {f"PACS-1.2.3.{n}": {f"{CASE} {n} 1 1"} for n in range(3)}
    assert sorted(path.name for path in (root / "spool" / "results" / CASE).iterdir()) == ["r1"]
    assert list((root / "spool" / "incoming").iterdir()) == []
