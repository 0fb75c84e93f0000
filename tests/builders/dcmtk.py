"""DCMTK's command-line programs as peers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.builders.programs import free_ports, required, wait_until

WITHOUT_DELAY = {**os.environ, "TCP_NODELAY": "1"}
"""Without it DCMTK, and Orthanc which is built on it, wait for delayed acknowledgements: 20 instances a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Exit status, and standard output and error together."""

    status: int
    text: str


def run(program: str, *arguments: str | Path, timeout_s: float = 30.0) -> Outcome:
    done = subprocess.run(
        [required(program), *map(str, arguments)],
        env=WITHOUT_DELAY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    return Outcome(status=done.returncode, text=done.stdout)


def echoscu(port: int, *options: str | Path, calling: str = "DCMTK", called: str = "CSF24") -> Outcome:
    return run("echoscu", "-v", "-aet", calling, "-aec", called, "-to", "5", *options, "127.0.0.1", str(port))


def storescu(
    port: int, files: Sequence[Path], *options: str | Path, calling: str = "DCMTK", called: str = "CSF24"
) -> Outcome:
    """Proposes only what the files need; goes on after a failed one."""
    addressed = ("-aet", calling, "-aec", called, "127.0.0.1", str(port))
    return run("storescu", "-v", "-R", "-nh", "-td", "20", *options, *addressed, *files)


def findscu(port: int, *keys: str, calling: str = "DCMTK", called: str = "CSF24") -> Outcome:
    options = [text for key in keys for text in ("-k", key)]
    return run("findscu", "-v", "-S", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port))


@contextmanager
def storescp(folder: Path, *options: str | Path, ae_title: str = "STORESCP", **environment: str) -> Iterator[int]:
    """A storage SCP that writes the data sets as they come; gives its port."""
    (port,) = free_ports()
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [required("storescp"), "-v", "+B", "-aet", ae_title, "-od", str(folder), *map(str, options), str(port)],
        env={**WITHOUT_DELAY, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port), timeout_s=10)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    """From the kernel's table: a connection would be an association request that never comes."""
    wanted = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)
