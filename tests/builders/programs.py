"""Debian programs that tests check against: found, skipped with a reason, or demanded."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

_ELSEWHERE = "/usr/sbin:/usr/local/sbin"
"""Servers are there, and not in every user's search path."""
_DEMAND = "CSF24_TESTS_REQUIRE_PROGRAMS"
_PACKAGES = {
    "Orthanc": "orthanc",
    "dciodvfy": "dicom3tools",
    "openssl": "openssl",
    "chromium": "chromium",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "pdftoppm": "poppler-utils",
}
_SHARED_NAMES = {"echoscu", "findscu", "getscu", "movescu", "storescp", "storescu"}
"""pynetdicom installs programs of these names, which may come first in the search path; DCMTK's lie beside dcmsend."""


def path_of(program: str) -> str | None:
    if program not in _SHARED_NAMES:
        return shutil.which(program) or shutil.which(program, path=_ELSEWHERE)
    dcmtk = shutil.which("dcmsend")
    return dcmtk and shutil.which(program, path=str(Path(dcmtk).parent))


def required(program: str) -> str:
    """Its path; a missing program is a failure here."""
    path = path_of(program)
    assert path is not None, f"{program} was not found (Debian: apt-get install {_package(program)})"
    return path


def needs(program: str) -> pytest.MarkDecorator:
    """Skips where `program` is missing; with CSF24_TESTS_REQUIRE_PROGRAMS=1 the test runs, and fails."""
    demanded = os.environ.get(_DEMAND) == "1"
    return pytest.mark.skipif(
        path_of(program) is None and not demanded,
        reason=f"needs {program} (Debian: apt-get install {_package(program)})",
    )


def absent(reason: str) -> NoReturn:
    """Skip this test for the lack of something; with CSF24_TESTS_REQUIRE_PROGRAMS=1, fail."""
    if os.environ.get(_DEMAND) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int = 1) -> list[int]:
    """TCP ports that nothing on loopback uses now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Poll; fails after `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"did not happen within {timeout_s:g} s"
        time.sleep(0.02)


def _package(program: str) -> str:
    return _PACKAGES.get(program, "dcmtk")
