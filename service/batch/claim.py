"""One batch at a time in a folder of results: two would take each other's half-made folders for leftovers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import UsageError

LOCK_NAME = ".csf24-convert.lock"
"""Hidden, and it stays: were it removed, a run that waits for it and a run that makes it anew would both hold it."""


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Make the folder `out` if need be, and hold it for this process; the kernel lets go of it, however that ends.

    Raises
    ------
    UsageError
        It cannot be written or locked, or another run holds it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Opened for writing, as a lock on a network file system wants it.
        descriptor = os.open(out / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as fault:
        raise UsageError(f"--out {out}: {fault.strerror}; accepted: a folder that can be written") from fault
    try:
        _lock(descriptor, out)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        process = f" (process {holder})" if holder.isdigit() else ""
        raise UsageError(
            f"--out {out}: another csf24 convert{process} is writing there; wait until it has ended, "
            "or give another folder"
        ) from fault
    except OSError as fault:
        raise UsageError(
            f"--out {out}: {fault.strerror}; accepted: a folder on a file system with locks, so that two runs "
            "cannot write there at a time"
        ) from fault
