"""Writes that survive a power cut: fsync of the file, rename, fsync of the directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import StorageUnavailable

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_faults(only: Collection[int] = ()) -> Iterator[None]:
    """Turn operating system errors (all, or those numbered in `only`) into `StorageUnavailable`.

    Its text names no file.
    """
    try:
        yield
    except OSError as fault:
        if only and fault.errno not in only:
            raise
        what = "no space is left" if fault.errno in NO_SPACE else f"error {errno.errorcode.get(fault.errno or 0, '?')}"
        raise StorageUnavailable(f"the spool cannot be written: {what}") from fault


def sync_directory(directory: Path) -> None:
    """Make the directory's entries durable (needed after a create or rename in it)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create `directory` and its missing parents, each one's entry made durable."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def write_file(path: Path, *chunks: bytes) -> None:
    """Write `chunks` to a new file and fsync it; on any failure no file is left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def sync_tree(root: Path) -> None:
    """Fsync every file and directory below and including `root`."""
    for folder, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(folder))
