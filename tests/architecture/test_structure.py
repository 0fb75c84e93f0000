"""What import-linter cannot say: who may ask for the time, and that the service stands without training."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.programs import free_ports

REPOSITORY = Path(__file__).parents[2]
SERVICE = REPOSITORY / "service"
# The composition root and the commands may read clock and environment; everything else is handed them.
MAY_ASK = {
    "app.py",
    "cli.py",
    "cli_cases.py",
    "cli_convert.py",
    "cli_models.py",
    "demo.py",
    "demo_pacs.py",
    "wiring.py",
}
ASKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time"),
        ("os", "environ"), ("os", "getenv")}  # fmt: skip
LIMIT = 400


def modules() -> list[Path]:
    return sorted(path for folder in ("service", "training") for path in (REPOSITORY / folder).rglob("*.py"))


def questions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if named and (node.value.id, node.attr) in ASKS:
            yield f"{node.value.id}.{node.attr}", node.lineno


@pytest.mark.parametrize("path", sorted(SERVICE.rglob("*.py")), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_clock_and_environment_are_read_at_the_root_only(path: Path) -> None:
    if path.parent == SERVICE and path.name in MAY_ASK:
        return
    assert list(questions(path)) == []


def test_the_rule_on_clocks_finds_what_it_forbids(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import os\nfrom datetime import datetime\nx = datetime.now()\ny = os.environ['HOME']\n")
    assert [name for name, _ in questions(path)] == ["datetime.now", "os.environ"]


def test_modules_stay_small_enough_to_be_read_at_once() -> None:
    lines = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: n for name, n in lines.items() if n > LIMIT} == {}


def test_import_directions_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--config", "pyproject.toml", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


LEAN = """
import importlib, importlib.abc, pkgutil, sys
ABSENT = {"torch", "onnx", "scipy", "matplotlib", "tensorboard", "training"}
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import service
for module in pkgutil.walk_packages(service.__path__, "service."):
    if module.name != "service.__main__" and ".migrations" not in module.name:
        importlib.import_module(module.name)
from service.cli import main
sys.argv = ["csf24", "doctor", "--phantom"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not ABSENT & set(sys.modules)
"""


def test_the_service_predicts_where_nothing_of_training_is_installed(tmp_path: Path) -> None:
    port, page_port = free_ports(2)
    environment = {
        "CSF24_LISTENER__PORT": str(port),
        "CSF24_STATUS_PAGE__PORT": str(page_port),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [sys.executable, "-c", LEAN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "phantom" in done.stdout
