"""onnxruntime's official builds tell Microsoft what they run; not in csf24."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.models import tiny_model
from tests.builders.service_process import REPOSITORY

OURS = "from service.inference.onnx import load_predictor; load_predictor(Path(sys.argv[1]))"
BARE = "import onnxruntime; onnxruntime.InferenceSession(sys.argv[1] + '/model.onnx')"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def left_behind(home: Path, model: Path, program: str) -> list[str]:
    """What a session leaves at home: the telemetry's device identifier and its queue of what is to be sent."""
    subprocess.run(
        [sys.executable, "-c", f"import sys; from pathlib import Path; {program}", str(model)],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)},
        check=True,
        capture_output=True,
    )
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_a_model_is_loaded_without_telling_anybody(home: Path, tmp_path: Path) -> None:
    assert left_behind(home, tiny_model(tmp_path, (1, 2, 4, 4)), OURS) == []


def test_onnxruntime_by_itself_would_leave_traces_that_this_would_find(home: Path, tmp_path: Path) -> None:
    if not left_behind(home, tiny_model(tmp_path, (1, 2, 4, 4)), BARE):
        pytest.skip("this build of onnxruntime has no telemetry")
    assert (home / ".cache").is_dir()
