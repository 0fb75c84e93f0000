"""A throw-away PostgreSQL on a local socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.programs import absent

ACCOUNT = "postgres"


def _programs() -> Path | None:
    """Directory of initdb and pg_ctl; Debian keeps them out of the search path."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return candidates[-1] if candidates and (candidates[-1] / "initdb").exists() else None


@contextmanager
def postgresql() -> Iterator[str]:
    """The part of a URL that follows the database's name."""
    programs = _programs()
    if programs is None:
        absent("needs Debian's postgresql (initdb was not found)")
    as_root = os.geteuid() == 0
    if as_root and subprocess.run(["id", ACCOUNT], capture_output=True, check=False).returncode:
        absent("PostgreSQL does not run as root, and there is no account postgres")
    root = Path(tempfile.mkdtemp(prefix="csf24-pg-"))
    account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if as_root else {}
    if as_root:
        shutil.chown(root, ACCOUNT, ACCOUNT)

    def call(program: str, *arguments: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([programs / program, *arguments], check=True, cwd=root, timeout=60, **quiet, **account)

    data = str(root / "data")
    call("initdb", "-D", data, "-U", ACCOUNT, "-A", "trust", "-N")
    call("pg_ctl", "-D", data, "-w", "-o", f"-k {root} -c listen_addresses= -F", "start")
    try:
        yield f"?host={root}"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(root, ignore_errors=True)
