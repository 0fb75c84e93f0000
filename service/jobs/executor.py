"""A worker's identity: the same after a restart, never shared by two live processes."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from service.errors import ConfigError

MAX_SLOTS = 64
"""Workers per machine and data directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSlot:
    """A claimed identity; the kernel frees it when the process ends, however it ends."""

    executor_id: str
    descriptor: int

    def release(self) -> None:
        """Give the slot up."""
        os.close(self.descriptor)


def claim_executor_slot(lock_directory: Path, host: str) -> ExecutorSlot:
    """Claim the lowest free slot: ``<host>-0`` for a single worker, again after every restart.

    Parameters
    ----------
    host
        Name of the machine; with a StatefulSet the pod's, which is stable.

    Raises
    ------
    ConfigError
        All slots are taken.
    """
    lock_directory.mkdir(parents=True, exist_ok=True)
    for slot in range(MAX_SLOTS):
        path = lock_directory / f"worker-{slot}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return ExecutorSlot(executor_id=f"{host}-{slot}", descriptor=descriptor)
    raise ConfigError([f"{MAX_SLOTS} workers already use {lock_directory}; give this one its own data directory"])
