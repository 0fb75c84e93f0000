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
        Name of the machine, which no other that shares the directory may have; with a StatefulSet the pod's, which
        is stable.

    Raises
    ------
    ConfigError
        All slots are taken.
    """
    for slot in range(MAX_SLOTS):
        claimed = _claim(lock_directory, f"{host}-{slot}")
        if claimed is not None:
            return claimed
    raise ConfigError([f"{MAX_SLOTS} workers already use {lock_directory}; give this one its own data directory"])


def claim_executor_name(lock_directory: Path, executor_id: str) -> ExecutorSlot:
    """Claim a name that the configuration gives.

    Raises
    ------
    ConfigError
        A live process has it.
    """
    claimed = _claim(lock_directory, executor_id)
    if claimed is None:
        raise ConfigError(
            [f"workers.executor_id: found {executor_id!r}, which a running process has; accepted: a name of its own"]
        )
    return claimed


def _claim(lock_directory: Path, executor_id: str) -> ExecutorSlot | None:
    lock_directory.mkdir(parents=True, exist_ok=True)
    # Opened for writing, as a lock on a network file system wants it.
    descriptor = os.open(lock_directory / f"{executor_id}.lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return ExecutorSlot(executor_id=executor_id, descriptor=descriptor)
