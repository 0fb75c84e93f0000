"""The synthetic series of `tests.builders.dicom` must be sound DICOM, or tests built on them prove little."""

from __future__ import annotations

import subprocess
from datetime import datetime

import pytest

from tests.builders.dicom import classic_series, enhanced_series, ramp_volume, to_bytes
from tests.builders.programs import needs

INJECTED = datetime(2024, 5, 14, 6, 50)


@pytest.mark.needs_dicom3tools
@needs("dciodvfy")
@pytest.mark.parametrize("orientation", ["axial", "oblique"])
@pytest.mark.parametrize("build", [classic_series, enhanced_series])
@pytest.mark.parametrize(
    "options", [{}, {"injected_at": INJECTED, "issuer": "HOSPITAL"}, {"philips_scale_slope": 0.5}], ids=str
)
def test_dciodvfy_finds_no_errors(build, orientation, options, tmp_path):
    path = tmp_path / "one.dcm"
    path.write_bytes(to_bytes(build(ramp_volume(orientation), **options)[0]))
    report = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    assert "MRImage" in report
    assert not [line for line in report.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("build", [classic_series, enhanced_series])
def test_the_same_arguments_give_the_same_bytes(build):
    first, again = (b"".join(to_bytes(d) for d in build(ramp_volume(), injected_at=INJECTED)) for _ in range(2))
    assert first == again


def test_changing_one_instance_leaves_the_others_alone():
    datasets = classic_series(ramp_volume(), PatientID=lambda k: f"P{k}")
    datasets[0].StudyInstanceUID = "1.2.3"
    assert [d.PatientID for d in datasets] == ["P0", "P1", "P2", "P3", "P4", "P5"]
    assert datasets[1].StudyInstanceUID != "1.2.3"
