"""The image of deploy/Containerfile, built and run by podman."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
WANTED = "CSF24_TESTS_CONTAINER"
# As on a hospital's host; all that csf24 may write is its volume and /tmp.
CLOSED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:rw,size=256m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--no-healthcheck",  # podman has systemd ask; here the tests do
)
# Ways to run podman: as it comes, and where the host has cgroups v1 beside v2 or lends few rights.
_WAYS: tuple[tuple[str, ...], ...] = ((), ("--runtime=runc", "--cgroup-manager=cgroupfs"))
_BUILD_WAYS = ("--pull=never", "--pull=never --isolation chroot --network host")
_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")  # else podman asks for more than it may have here


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image, and how containers run here."""

    name: str
    way: tuple[str, ...]

    def run(
        self, *arguments: str, options: Sequence[str] = (), timeout_s: float = 200
    ) -> subprocess.CompletedProcess[str]:
        """A container that ends by itself, without any network, and is then removed."""
        return self.podman(
            "run", "--rm", *CLOSED, *_LIMITS, "--network=none", *options, self.name, *arguments, timeout_s=timeout_s
        )

    def start(self, *arguments: str, options: Sequence[str] = ()) -> str:
        """A container that goes on, in the host's network; its id."""
        done = self.podman("run", "--detach", *CLOSED, *_LIMITS, "--network=host", *options, self.name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def settings(self) -> dict[str, Any]:
        """What the image says of itself; the health check is absent where the format has no place for it."""
        (found,) = json.loads(self.podman("image", "inspect", self.name).stdout)
        return found["Config"] | {"Healthcheck": found.get("Healthcheck")}

    def podman(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return _podman(*self.way, *arguments, timeout_s=timeout_s)


def build(name: str) -> Image:
    """The ``cpu`` target, freshly built; skips with a reason where that cannot be."""
    if os.environ.get(WANTED) != "1":
        pytest.skip("builds an image, which takes minutes: make container-test")
    if shutil.which("podman") is None:
        pytest.skip("needs podman (Debian: apt-get install podman runc)")
    if _podman("image", "exists", BASE).returncode and _podman("pull", "--quiet", BASE, timeout_s=600).returncode:
        pytest.skip(f"needs the base image {BASE}, which is not here and cannot be pulled")
    for options in _BUILD_WAYS:
        done = subprocess.run(
            ["sh", str(REPOSITORY / "deploy" / "container" / "build.sh"), "cpu", name],
            env={**os.environ, "ENGINE": "podman", "BUILD_OPTIONS": options},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    for way in _WAYS:
        image = Image(name=name, way=way)
        tried = image.run("--version")
        if tried.returncode == 0:
            return image
    pytest.skip(f"podman cannot run containers here: {tried.stderr.strip()[-300:]}")


def _podman(*arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
