from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.batch.claim import LOCK_NAME, claimed
from service.errors import UsageError
from tests.builders.service_process import REPOSITORY

_HOLDER = """
import sys, time
from pathlib import Path
from service.batch.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder_of(out: Path) -> subprocess.Popen[str]:
    """A process of its own that holds `out`."""
    started = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(out)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "held\n"
    return started


def test_a_folder_that_another_run_writes_to_is_refused_by_its_process_and_free_once_that_is_killed(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results"
    other = holder_of(out)
    try:
        with pytest.raises(UsageError, match=rf"another csf24 convert \(process {other.pid}\) is writing there"):
            claimed(out).__enter__()
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate(timeout=20)
    with claimed(out):
        assert [path.name for path in out.iterdir()] == [LOCK_NAME]


def test_other_folders_are_free_while_one_is_held(tmp_path: Path) -> None:
    with claimed(tmp_path / "a"), claimed(tmp_path / "b"):
        pass


def test_a_folder_that_a_run_has_left_is_free_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path):
        raise ZeroDivisionError
    with claimed(tmp_path):
        pass
