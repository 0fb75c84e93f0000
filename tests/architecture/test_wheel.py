"""What is installed is whole: an installed csf24 predicts from any folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_wheel_carries_models_patient_pages_and_migrations(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("csf24-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    models = {path.relative_to(REPOSITORY / "onnx_models") for path in REPOSITORY.glob("onnx_models/*/*")}
    assert {f"service/_models/{name}" for name in models} <= names
    assert {
        "service/batch/templates/bids_readme.txt",
        "service/batch/templates/overview.html",
        "service/demo_patient/simulated-patient.zip",
        "service/monitoring/templates/status.html",
        "service/monitoring/templates/browse.js",
        "service/storage/migrations/versions/0001_initial.py",
        "training/recipes/volume3d.toml",
        "training/reader_study/templates/form.html",
        "training/reader_study/templates/report.html",
    } <= names
    assert not [name for name in names if name.startswith("tests/")]
