"""deploy/Containerfile as it is written; what the built image does is tested by ``make container-test``."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.cli import app
from service.config import Config, load_config
from service.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
CONTAINERFILE = REPOSITORY / "deploy" / "Containerfile"
DEFAULT = REPOSITORY / "deploy" / "container" / "csf24.toml"
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def stages() -> dict[str, list[Instruction]]:
    """Instructions by stage; the last, which has no name, as ``""``."""
    found: dict[str, list[Instruction]] = {}
    for word, rest in instructions():
        if word == "FROM":
            name = rest.partition(" AS ")[2]
            found[name] = []
        if found:
            found[name].append((word, rest))
    return found


def values(word: str, stage: list[Instruction]) -> list[str]:
    return [rest for given, rest in stage if given == word]


def test_hadolint_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(program), str(CONTAINERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_begins_at_one_pinned_base_or_at_another_stage() -> None:
    bases = [base for base in values("ARG", instructions()) if base.startswith("BASE=")]
    assert len(bases) == 1
    assert re.fullmatch(r"BASE=docker\.io/library/python:\d\.\d+-slim-\w+", bases[0])
    for stage in stages().values():
        (begun,) = values("FROM", stage)
        assert begun.split()[0] in {"${BASE}", *stages()}


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_target_runs_as_a_user_with_a_number_and_has_no_package_installed_in_it(target: str) -> None:
    stage = stages()[target]
    assert values("FROM", stage) == [f"runtime AS {target}"]
    assert stage[-1] == ("USER", "10024:0")
    assert values("RUN", stage) == []
    assert not any("pip" in run for run in values("RUN", stages()["runtime"]))


def test_without_a_target_it_is_the_one_for_the_cpu() -> None:
    assert stages()[""] == [("FROM", "cpu")]


def test_what_is_started_is_no_shell_and_a_command_that_there_is() -> None:
    runtime = stages()["runtime"]
    (entry,), (command,), (check,) = (values(word, runtime) for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert json.loads(entry) == ["csf24"]
    asked = json.loads(check.partition(" CMD ")[2])
    commands = {found.name or found.callback.__name__ for found in app.registered_commands if found.callback}
    for words in (["csf24", *json.loads(command)], asked):
        assert words[0] == "csf24" and words[1] in commands
        assert words[2:] == ["--config", "/etc/csf24/csf24.toml"]
    assert not re.search(r"11112|echo", check)  # over HTTP; an association every 30 s would fill the PACS' log


def test_it_exposes_the_ports_that_are_the_default() -> None:
    config = Config()
    assert values("EXPOSE", stages()["runtime"]) == [f"{config.listener.port} {config.status_page.port}"]


def test_only_what_is_copied_reaches_the_build() -> None:
    ignored = (REPOSITORY / ".containerignore").read_text().splitlines()
    assert (REPOSITORY / ".dockerignore").read_text().splitlines() == ignored  # each engine reads one of the two
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    copied = [
        words for rest in values("COPY", instructions()) if "--from=" not in rest for words in [rest.split()[:-1]]
    ]
    sources = {source for words in copied for source in words}
    for source in sources:
        assert (REPOSITORY / source).exists()
        assert any(fnmatch(source, f"{pattern}*") for pattern in let_in), source
    for pattern in let_in:
        assert any(source.startswith(pattern) for source in sources), f"{pattern} is let in and not used"


def test_the_wheel_can_be_built_from_what_is_let_in() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    needed |= set(project["project"]["license-files"])
    copied = {source for rest in values("COPY", stages()["wheel"]) for source in rest.split()[:-1]}
    assert needed <= copied


def test_what_both_targets_install_is_pinned() -> None:
    constraints = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in constraints if "==" in line}
    for target in ("cpu", "gpu"):
        (run,) = values("RUN", stages()[f"{target}-environment"])
        _, script, extra, *further = shlex.split(run)
        assert script == "/install.sh" and extra == target
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        for requirement in (*project["dependencies"], *project["optional-dependencies"][target], *further):
            assert canonicalize_name(Requirement(requirement).name) in pinned, requirement
    assert "--constraint /constraints.txt" in (REPOSITORY / "deploy" / "container" / "install.sh").read_text()


def test_the_gpu_s_target_asks_for_a_gpu_and_csf24_takes_the_words() -> None:
    (given,) = values("ENV", stages()["gpu"])
    environment = dict(word.split("=", 1) for word in given.split())
    config = load_config(None, {name: value for name, value in environment.items() if name.startswith("CSF24_")})
    assert (config.inference.provider, config.inference.require_gpu) == ("cuda", True)


def test_the_image_s_own_configuration_lacks_only_who_may_send(tmp_path: Path) -> None:
    text = DEFAULT.read_text().replace("/var/lib/csf24", str(tmp_path))
    path = tmp_path / "csf24.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    assert [problem.partition(":")[0] for problem in refused.value.problems] == ["listener.calling_ae_titles"]
    config = load_config(path, {"CSF24_LISTENER__CALLING_AE_TITLES": "PACS"})
    assert config.storage.directory == tmp_path
    assert config.status_page.host == "127.0.0.1"


@pytest.mark.parametrize("script", sorted((REPOSITORY / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one_that_the_shell_can_read(script: Path) -> None:
    assert subprocess.run(["sh", "-n", str(script)], capture_output=True, check=False).returncode == 0
