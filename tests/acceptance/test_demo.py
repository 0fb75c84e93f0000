"""csf24 demo: the loop on this machine, with a real PACS and with the small one, and what it says when it cannot."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from io import StringIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from rich.console import Console

from service import demo_pacs
from service.demo import run_demo
from service.errors import Csf24Error, UsageError
from tests.builders.patients import unpack_shipped
from tests.builders.programs import needs, wait_until
from tests.builders.service_process import REPOSITORY, csf24

pytestmark = pytest.mark.slow
INJECTED = datetime(2024, 5, 14, 9, 10)
"""Of the shipped patient."""


@pytest.fixture
def own_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Orthanc is not installed."""
    monkeypatch.setattr(demo_pacs, "orthanc_program", lambda: None)


@pytest.fixture
def no_orphans(tmp_path: Path) -> Callable[[], list[str]]:
    """Command lines of processes that still work for this test's demo."""

    def running() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            if f"{tmp_path}/" in line and "/work/" in line:
                found.append(line)
        return found

    return running


def demo(out: Path, **given: object) -> tuple[int, str]:
    """Exit status and screen, 80 columns wide."""
    screen = StringIO()
    options = {"source": None, "injection_time": None, "model": None, **given}
    status = run_demo(out=out, console=Console(file=screen, width=80), **options)  # type: ignore[arg-type]
    return status, screen.getvalue()


def assert_is_a_picture(path: Path) -> None:
    picture = np.asarray(Image.open(path).convert("L"))
    height, width = picture.shape
    assert width > 600 and height > 400
    # Heads in every row and column of panels: neither blank nor one tone, in any sixth of it.
    for part in (p for rows in np.array_split(picture, 2) for p in np.array_split(rows, 3, axis=1)):
        assert part.std() > 10
        assert len(np.unique(part)) > 50


@needs("Orthanc")
@pytest.mark.needs_orthanc
def test_the_whole_loop_fits_on_one_screen_and_leaves_the_prediction_in_orthanc(
    tmp_path: Path, no_orphans: Callable[[], list[str]]
) -> None:
    started = time.monotonic()
    status, screen = demo(tmp_path / "demo")
    took = time.monotonic() - started
    assert status == 0
    lines = screen.splitlines()
    assert 20 <= len(lines) <= 30
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert re.search(r"^PACS: Orthanc \d+\.\d+", screen)
    assert "In the PACS:  128 objects, read back and equal to what was sent\n" in screen
    assert "SIMULATED head and tracer; no patient exists" in screen
    assert "Research use, not for diagnosis." in screen
    seconds = {name.strip(): float(s) for name, s in re.findall(r"│ ([^│]+)│ ([0-9.]+) ", screen)}
    assert sum(s for name, s in seconds.items() if name != "total") == pytest.approx(seconds["total"], abs=1.0)
    assert seconds["total"] < took
    assert min(seconds.values()) >= 0
    assert_is_a_picture(tmp_path / "demo" / "overview.png")
    assert no_orphans() == []


def test_without_orthanc_the_small_archive_stands_in_and_a_second_run_replaces_the_first(
    tmp_path: Path, own_archive: None, no_orphans: Callable[[], list[str]]
) -> None:
    """The first run is with a patient's own series, which do not say when the injection was."""
    folder = untimed(tmp_path / "patient")
    out = tmp_path / "demo"
    with pytest.raises(UsageError, match="INJECTION_TIME_MISSING"):
        demo(out, source=folder)
    assert not (out / "overview.png").exists()
    first = (out / "work" / "csf24.toml").read_text()
    assert no_orphans() == []

    status, screen = demo(out, source=folder, injection_time=INJECTED)
    assert status == 0
    assert (out / "work" / "csf24.toml").read_text() != first
    assert "PACS: csf24's own demo archive, port" in screen
    assert "with Orthanc installed, the demo uses that" in screen
    assert "Delayed scan: 1.43 h after injection" in screen
    assert "SIMULATED head" not in screen  # nobody has said so of this patient
    assert len(list((out / "work" / "pacs").glob("*.dcm"))) == 128
    assert len(screen.splitlines()) <= 30
    assert_is_a_picture(out / "overview.png")
    assert no_orphans() == []


def untimed(folder: Path) -> Path:
    """The shipped patient with a difficult ID, without its contrast start, and with a report beside the images."""
    baseline, delayed = unpack_shipped(folder)
    for path in (*baseline, *delayed):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = 'P"1", 2'
        dataset.pop("ContrastBolusStartTime", None)
        dataset.save_as(path)
    (folder / "notes.txt").write_text("no DICOM")
    return folder


def test_the_command_says_what_is_missing_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = csf24("demo", "--input", "empty", "--out", "out", cwd=tmp_path)
    assert (empty.returncode, "found 0 DICOM series; accepted: a folder with" in empty.stderr) == (2, True)
    untold = csf24("demo", "--injection-time", "2024-05-14", "--out", "out", cwd=tmp_path)
    assert (untold.returncode, "ISO 8601 with a time" in untold.stderr) == (2, True)
    assert "Traceback" not in empty.stderr + untold.stderr


def test_a_folder_of_somebody_elses_is_not_emptied(tmp_path: Path, own_archive: None) -> None:
    thesis = tmp_path / "work" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("three years")
    with pytest.raises(UsageError, match="is there, and not from a demo; choose another folder with --out"):
        demo(tmp_path)
    assert thesis.read_text() == "three years"
    with pytest.raises(UsageError, match="cannot be used for the demo's files"):
        demo(thesis / "below")


def test_a_service_that_does_not_start_ends_the_demo_with_its_words_and_takes_the_pacs_along(
    tmp_path: Path, no_orphans: Callable[[], list[str]]
) -> None:
    with pytest.raises(
        Csf24Error, match=r"(?s)the service did not start; its log ends with:.*no model 'no-such-model'"
    ):
        demo(tmp_path / "demo", model="no-such-model")
    assert no_orphans() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_told_to_end_takes_service_and_pacs_along(
    tmp_path: Path, number: signal.Signals, no_orphans: Callable[[], list[str]]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "demo", "--out", str(tmp_path / "demo")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any("serve" in line for line in no_orphans()), timeout_s=60)
    time.sleep(1)  # into the start of the service, or beyond it
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode not in (0, 1, 2, 3)
    assert "Traceback" not in said
    assert no_orphans() == []
