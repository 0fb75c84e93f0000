"""The image really built and run, closed as on a hospital's host; ``make container-test``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from service.network.peers import LocalEntity
from service.network.storage_scu import store
from tests.builders.containers import Image, build
from tests.builders.network import outgoing, peer
from tests.builders.patients import unpack_shipped
from tests.builders.programs import free_ports, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("container")]
SENDER = "MRSCANNER"
STOPS_WITHIN_S = 10.0
"""What container engines wait before they kill."""
CONFIGURED = "/etc/csf24/csf24.toml"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    made = build("localhost/csf24-test:cpu")
    yield made
    made.podman("rmi", "--force", made.name)


@pytest.fixture
def volume(image: Image) -> Iterator[str]:
    """A named volume, as an engine makes it at the first start."""
    name = f"csf24-test-{uuid4().hex[:8]}"
    yield name
    image.podman("volume", "rm", "--force", name)


@pytest.fixture
def ports() -> tuple[int, int]:
    port, page_port = free_ports(2)
    return port, page_port


@pytest.fixture
def config(tmp_path: Path, ports: tuple[int, int]) -> Path:
    path = tmp_path / "csf24.toml"
    path.write_text(
        f'[listener]\nport = {ports[0]}\ncalling_ae_titles = ["{SENDER}"]\n[status_page]\nport = {ports[1]}\n'
        '[storage]\ndirectory = "/var/lib/csf24"\nmin_free_mb = 64\n[pairing]\nquiet_seconds = 5\n'
    )
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    return path


@pytest.fixture
def mounts(config: Path, volume: str) -> tuple[str, ...]:
    return f"--volume={config}:{CONFIGURED}:ro", f"--volume={volume}:/var/lib/csf24"


class Running:
    """A container with `csf24 serve` in it."""

    def __init__(self, image: Image, *options: str) -> None:
        self._image = image
        self._id = image.start(options=options)

    def csf24(self, *arguments: str) -> tuple[int, str]:
        """A command in the container, as an administrator would give it."""
        done = self._image.podman("exec", self._id, "csf24", *arguments, "--config", CONFIGURED)
        return done.returncode, done.stdout + done.stderr

    def await_health(self) -> None:
        try:
            wait_until(lambda: self.csf24("health")[0] == 0, timeout_s=60)
        except AssertionError:
            raise AssertionError(self.log()[-3000:]) from None

    def stop(self) -> tuple[int, float]:
        """SIGTERM as an engine sends it; exit status, and seconds taken."""
        started = time.monotonic()
        self._image.podman("stop", "--time", "30", self._id)
        seconds = time.monotonic() - started
        return int(self._image.podman("inspect", "--format", "{{.State.ExitCode}}", self._id).stdout), seconds

    def log(self) -> str:
        done = self._image.podman("logs", self._id)
        return done.stdout + done.stderr

    def remove(self) -> None:
        self._image.podman("rm", "--force", "--time", "1", self._id)


def test_it_holds_the_service_and_neither_compiler_nor_torch_nor_tests(image: Image) -> None:
    look = """
import importlib.metadata, json, os, pathlib, shutil, sys
packages = pathlib.Path(sys.prefix, "lib").glob("python3*/site-packages")
print(json.dumps({
    "who": [os.getuid(), os.getgid()],
    "programs": [name for name in ("gcc", "cc", "make", "git") if shutil.which(name)],
    "ours": sorted(name for name in os.listdir("/opt/csf24/bin") if not name.startswith("python")),
    "tests": [str(path) for root in packages for path in root.glob("*/**/tests")],
    "packages": sorted(found.name.lower() for found in importlib.metadata.distributions(path=[
        str(path) for path in pathlib.Path(sys.prefix, "lib").glob("python3*/site-packages")])),
    "cache": [str(path) for path in pathlib.Path("/").glob("**/.cache/pip") if path.exists()],
    "writable": [place for place in ("/", "/opt/csf24", "/etc", "/var/lib/csf24", "/tmp") if os.access(place, os.W_OK)],
}))
"""
    done = image.run("-c", look, options=["--entrypoint=python"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["who"] == [10024, 0]
    assert (found["programs"], found["tests"], found["cache"]) == ([], [], [])
    assert found["ours"] == ["csf24"]
    assert found["writable"] == ["/var/lib/csf24", "/tmp"]
    unwanted = {"torch", "onnx", "scipy", "matplotlib", "pandas", "pytest", "pip", "hatchling"}
    assert {"csf24", "onnxruntime", "simpleitk"} <= set(found["packages"])
    assert not unwanted & set(found["packages"])


def test_it_says_what_it_is(image: Image) -> None:
    said = image.settings()
    assert said["User"] == "10024:0"
    assert said["Entrypoint"] == ["csf24"]
    assert said["Cmd"] == ["serve", "--config", CONFIGURED]
    assert set(said["ExposedPorts"]) == {"11112/tcp", "8024/tcp"}
    assert set(said["Volumes"]) == {"/var/lib/csf24"}
    assert said["Healthcheck"]["Test"] == ["CMD", "csf24", "health", "--config", CONFIGURED]
    labels = said["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["org.opencontainers.image.version"])
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_models_installation_and_a_whole_conversion_pass_without_a_network(image: Image) -> None:
    verified = image.run("models", "verify")
    assert (verified.returncode, verified.stdout.count("golden answer reproduced")) == (0, 2), verified.stdout
    examined = image.run("doctor", "--phantom")
    assert examined.returncode == 0, examined.stdout
    assert "predicted in" in examined.stdout


def test_the_demo_runs_in_it(image: Image) -> None:
    done = image.run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "In the PACS:  128 objects, read back and equal to what was sent" in done.stdout


def test_without_a_configuration_it_says_what_is_missing_and_ends(image: Image) -> None:
    done = image.run()
    assert done.returncode == 2
    assert done.stderr.count("\n  - ") == 1
    assert "listener.calling_ae_titles: found none with listener.host = '0.0.0.0'" in done.stderr


@pytest.mark.parametrize("user", ["10024:0", "12345:0"], ids=["its own user", "a user of the platform's choice"])
def test_it_serves_and_ends_at_once_when_told_and_keeps_what_it_was_sent(
    image: Image, mounts: tuple[str, ...], ports: tuple[int, int], tmp_path: Path, user: str
) -> None:
    series = unpack_shipped(tmp_path / "patient")
    running = Running(image, f"--user={user}", *mounts)
    try:
        running.await_health()
        assert running.csf24("health", "--ready") == (0, '{"ready":true,"reasons":[]}\n')
        for paths in series:
            sent = store(peer(ports[0], "CSF24"), LocalEntity(ae_title=SENDER), outgoing(paths))
            assert all(result.accepted for result in sent)
        status, seconds = running.stop()
        assert status == 0, running.log()[-2000:]
        assert seconds < STOPS_WITHIN_S
    finally:
        running.remove()

    again = Running(image, f"--user={user}", *mounts)
    try:
        again.await_health()

        def states() -> list[str]:
            return [case["state"] for case in json.loads(again.csf24("cases", "list", "--json")[1])]

        wait_until(lambda: states() == ["done"], timeout_s=120)
        status, seconds = again.stop()
        assert (status, seconds < STOPS_WITHIN_S) == (0, True)
        assert again.csf24("health")[0] != 0
    finally:
        again.remove()


def test_a_volume_that_it_may_not_write_to_is_named(image: Image, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "of-another-account"
    folder.mkdir(mode=0o755)
    done = image.run(options=[f"--volume={config}:{CONFIGURED}:ro", f"--volume={folder}:/var/lib/csf24"])
    assert done.returncode == 2
    assert "storage.directory: found '/var/lib/csf24', and '/var/lib/csf24' cannot be written to" in done.stderr


def test_settings_may_come_from_the_environment_alone(image: Image, volume: str, ports: tuple[int, int]) -> None:
    settings = {
        "CSF24_LISTENER__CALLING_AE_TITLES": f"{SENDER},PACS",
        "CSF24_LISTENER__PORT": ports[0],
        "CSF24_STATUS_PAGE__PORT": ports[1],
        "CSF24_STORAGE__MIN_FREE_MB": 64,
    }
    given = [f"--env={name}={value}" for name, value in settings.items()]
    running = Running(image, *given, f"--volume={volume}:/var/lib/csf24")
    try:
        running.await_health()
        status, examined = running.csf24("doctor")
        assert status == 0, examined
        assert "running, answers C-ECHO" in examined and f"may send: {SENDER}, PACS" in examined
        assert all(json.loads(line)["level"] for line in running.log().splitlines())
    finally:
        running.remove()
