"""deploy/csf24.service, judged by systemd itself."""

from __future__ import annotations

import getpass
import re
import subprocess
from pathlib import Path

import pytest

from tests.builders.programs import needs

DEPLOY = Path(__file__).parents[3] / "deploy"
UNIT = DEPLOY / "csf24.service"
pytestmark = needs("systemd-analyze")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program and an account that are there."""
    program = tmp_path / "csf24"
    program.touch(mode=0o755)
    text = UNIT.read_text().replace("/opt/csf24/.venv/bin/csf24", str(program))
    path = tmp_path / UNIT.name
    path.write_text(text.replace("User=csf24", f"User={getpass.getuser()}").replace("Group=csf24\n", ""))
    return path


def analyse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_understands_it(unit: Path) -> None:
    done = analyse("verify", unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])


def test_its_exposure_is_as_low_as_the_manual_says(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/csf24/.venv/bin/csf24", "/bin/true"))
    said = re.search(r"an exposure of (\d\.\d)", re.sub(r"\s+", " ", (DEPLOY / "README.md").read_text()))
    assert said is not None
    tenths = round(10 * float(said[1]))
    assert analyse("security", "--offline=true", f"--threshold={tenths}", unit).returncode == 0
    assert analyse("security", "--offline=true", f"--threshold={tenths - 1}", unit).returncode != 0


def test_what_a_port_below_1024_needs_is_said_and_works_together(unit: Path) -> None:
    """The lines that are to replace others, put in their place."""
    text = unit.read_text()
    for line in re.findall(r"^#((?:CapabilityBoundingSet|AmbientCapabilities|PrivateUsers)=.*)$", text, re.MULTILINE):
        name = line.partition("=")[0]
        text = re.sub(rf"^{name}=.*$", line, text, flags=re.MULTILINE)
    assert "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n" in text and "\nPrivateUsers=no\n" in text
    unit.write_text(text)
    assert analyse("verify", unit).returncode == 0
