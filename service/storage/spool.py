"""The spool: received instances and finished results as durable files.

::

    <root>/objects/<2 hex>/<sha256 of SOP Instance UID>-<`content_digest`>.dcm
    <root>/incoming/<token>/      half-written files of one live process (holds a lock)
    <root>/results/<case id>/r<revision>/

A file under its final name is complete and synced. No path contains a peer's text.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.dicom.records import StoredInstance
from service.errors import StorageUnavailable
from service.storage.durable import NO_SPACE, disk_faults, make_directory, sync_directory, sync_tree, write_file
from service.storage.part10 import FileMeta, encode_head, split_file

DEFAULT_MIN_FREE_BYTES = 2 * 1024**3
"""Room for the case in work (two series, its result) and the ledger on top of the instance being received."""
_LOCK_NAME = "lock"
_CASE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedFile:
    """A file in the spool that is not the object its name promises."""

    relative_path: str
    problem: str


class Spool:
    """Durable files below one root directory; any number of threads and processes may share it.

    Parameters
    ----------
    root
        Created when missing. On one file system, local or shared by all machines, with locks and atomic renames.
    min_free_bytes
        `write` refuses when less than this would be left.

    Raises
    ------
    StorageUnavailable
        The root cannot be created or written.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = DEFAULT_MIN_FREE_BYTES) -> None:
        self.root = root
        self._min_free_bytes = min_free_bytes
        self._objects = root / "objects"
        self._results = root / "results"
        self._serial = itertools.count()
        with disk_faults():
            for directory in (self._objects, self._results, root / "incoming"):
                make_directory(directory)
            _remove_dead_incoming(root / "incoming")
            self._incoming, self._lock = _own_incoming(root / "incoming")

    def close(self) -> None:
        """Give up the directory for half-written files."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            shutil.rmtree(self._incoming, ignore_errors=True)

    @property
    def free_bytes(self) -> int:
        """Bytes an unprivileged writer can still use on the spool's file system."""
        with disk_faults():
            return shutil.disk_usage(self.root).free

    @property
    def has_room(self) -> bool:
        """Whether another instance would be accepted; associations are refused when not."""
        return self.free_bytes >= self._min_free_bytes

    def require_room(self, n_bytes: int = 0) -> None:
        """Raise `StorageUnavailable` unless `n_bytes` fit above the reserve."""
        free = self.free_bytes
        if free - n_bytes < self._min_free_bytes:
            raise StorageUnavailable(
                f"the spool is short of space: {free} bytes free, {self._min_free_bytes + n_bytes} needed"
            )

    def write(
        self,
        encoded_dataset: bytes,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae: str,
        now: datetime,
        digest: Callable[[], str] | None = None,
    ) -> StoredInstance:
        """Store one received data set as a Part 10 file; durable when this returns.

        The data set is kept byte for byte. The same content again is the same file, which is
        left as it is; other content under the same SOP Instance UID is a second file: `has_another`.

        Parameters
        ----------
        digest
            Gives `content_digest` of it, which somebody works out beside the write; asked for once the data are
            synced. Without it that is done here.

        Raises
        ------
        StorageUnavailable
            Too little space, or the file system failed; nothing is left behind.
        """
        head = encode_head(
            FileMeta(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=transfer_syntax_uid,
                calling_ae=calling_ae,
            )
        )
        uid_hash = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        part = self._incoming / f"{next(self._serial)}.part"
        with disk_faults():
            self.require_room(len(head) + len(encoded_dataset))
            write_file(part, head, encoded_dataset)
            try:
                found = digest() if digest else content_digest(encoded_dataset, transfer_syntax_uid)
                target = self._objects / uid_hash[:2] / f"{uid_hash}-{found}.dcm"
                kept = self._head_of_intact(target, encoded_dataset)
                if kept is None:
                    make_directory(target.parent)
                    part.rename(target)
                else:
                    part.unlink()
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            sync_directory(target.parent)  # of a file that was there too: its writer may not have come so far yet
        return StoredInstance(
            sop_instance_uid=sop_instance_uid,
            sop_class_uid=sop_class_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            relative_path=target.relative_to(self.root).as_posix(),
            sha256=found,
            size_bytes=len(kept or head) + len(encoded_dataset),
            calling_ae=calling_ae,
            received_at=now,
        )

    @staticmethod
    def _head_of_intact(target: Path, encoded_dataset: bytes) -> bytes | None:
        """What stands before the data set in the file already there; None when there is none or it is damaged."""
        try:
            found = target.read_bytes()
            _, offset = split_file(found)
        except (FileNotFoundError, ValueError):
            return None
        return found[:offset] if found[offset:] == encoded_dataset else None

    def holds(self, stored: StoredInstance) -> bool:
        """Whether the object's file is there."""
        with disk_faults():
            return (self.root / stored.relative_path).is_file()

    def has_another(self, stored: StoredInstance) -> bool:
        """Whether other content lies there under the same SOP Instance UID; one look into a folder, nothing is read."""
        own = self.root / stored.relative_path
        uid = own.name.partition("-")[0]
        with disk_faults(), os.scandir(own.parent) as entries:
            return any(entry.name.startswith(uid) and entry.name != own.name for entry in entries)

    def discard(self, stored: StoredInstance) -> None:
        """Remove an object's file; only for one that is not acknowledged, or whose image is held under another name."""
        with disk_faults():
            (self.root / stored.relative_path).unlink(missing_ok=True)

    def path(self, stored: StoredInstance) -> Path:
        """Absolute path of a stored instance's Part 10 file.

        Raises
        ------
        StorageUnavailable
            The file is not there.
        """
        path = self.root / stored.relative_path
        if not path.is_file():
            raise StorageUnavailable(f"the spool has lost {stored.relative_path}")
        return path

    def read(self, stored: StoredInstance) -> bytes:
        """The whole Part 10 file, its data set checked against the SHA-256 in its name.

        Raises
        ------
        StorageUnavailable
            The file is missing, unreadable or altered.
        """
        with disk_faults():
            content = self.path(stored).read_bytes()
        try:
            meta, offset = split_file(content)
            intact = _is_named_for(stored.relative_path, content[offset:], meta.transfer_syntax_uid)
        except ValueError:
            intact = False
        if not intact:
            raise StorageUnavailable(f"the spool's {stored.relative_path} was altered since it was received")
        return content

    def scan(self, *, skip: Callable[[str], bool] = lambda _: False) -> Iterator[StoredInstance | DamagedFile]:
        """Object files, described from the file alone; the source for rebuilding the ledger.

        Relative paths for which `skip` is true are passed over without opening the file.
        `received_at` is the file's modification time, `calling_ae` comes from the file meta.
        """
        for path in sorted(self._objects.glob("*/*.dcm")):
            relative = path.relative_to(self.root).as_posix()
            if skip(relative):
                continue
            with disk_faults():
                content = path.read_bytes()
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            try:
                meta, offset = split_file(content)
            except ValueError as fault:
                yield DamagedFile(relative_path=relative, problem=str(fault))
                continue
            if not _is_named_for(relative, content[offset:], meta.transfer_syntax_uid):
                yield DamagedFile(relative_path=relative, problem="content does not match the hash in its name")
                continue
            yield StoredInstance(
                sop_instance_uid=meta.sop_instance_uid,
                sop_class_uid=meta.sop_class_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                relative_path=relative,
                sha256=path.stem.rpartition("-")[2],
                size_bytes=len(content),
                calling_ae=meta.calling_ae,
                received_at=modified,
            )

    def result_path(self, case_id: str, revision: int) -> Path:
        """Where the result of this revision is once it has been published."""
        if not _CASE_ID.fullmatch(case_id) or revision < 1:
            raise ValueError("a result needs a case id of letters, digits, - or _ and a revision from 1")
        return self._results / case_id / f"r{revision}"

    def publish_result(self, case_id: str, revision: int, build: Callable[[Path], None]) -> Path:
        """Let `build` fill a fresh directory, then publish it whole; durable when this returns.

        A published result is never built again or altered: the second call returns the first
        one's directory without calling `build`.

        Raises
        ------
        StorageUnavailable
            Too little space, or the file system failed; nothing is published.
        """
        target = self.result_path(case_id, revision)
        if target.is_dir():
            with disk_faults():
                sync_directory(target.parent)
            return target
        self.require_room()
        draft = self._incoming / f"{next(self._serial)}.result"
        try:
            with disk_faults():
                draft.mkdir()
            with disk_faults(only=NO_SPACE):  # other faults of `build` are its own, and its caller's to judge
                build(draft)
            with disk_faults():
                sync_tree(draft)
                make_directory(target.parent)
                try:
                    draft.rename(target)
                except OSError as fault:
                    # Another worker published the same revision meanwhile; both were made from the same input.
                    if fault.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                sync_directory(target.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return target


def content_digest(encoded_dataset: bytes, transfer_syntax_uid: str) -> str:
    """SHA-256 of Transfer Syntax UID, a zero byte and the data set, by which the spool tells contents apart."""
    content = hashlib.sha256(transfer_syntax_uid.encode() + b"\0")
    content.update(encoded_dataset)
    return content.hexdigest()


def _is_named_for(relative_path: str, encoded_dataset: bytes, transfer_syntax_uid: str) -> bool:
    return relative_path.endswith(f"-{content_digest(encoded_dataset, transfer_syntax_uid)}.dcm")


def _own_incoming(incoming: Path) -> tuple[Path, int]:
    """A new locked directory for this process, and the descriptor that holds the lock.

    The kernel drops the lock however the process ends, so leftovers of the dead can be told from the living. Were
    locks not seen by another machine, it would take this one's for a leftover, and a write fail that nobody was told
    had succeeded.
    """
    while True:
        directory = incoming / secrets.token_hex(8)
        directory.mkdir()
        try:
            descriptor = _lock_file(directory)
        except FileNotFoundError:
            continue  # another start took it for a leftover before it was locked
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (directory / _LOCK_NAME).is_file():
            return directory, descriptor
        os.close(descriptor)


def _lock_file(directory: Path) -> int:
    """Opened for writing, as a lock on a network file system wants it."""
    return os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o640)


def _remove_dead_incoming(incoming: Path) -> None:
    """Remove half-written files whose process is gone; those were never acknowledged."""
    for directory in incoming.iterdir():
        try:
            descriptor = _lock_file(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue  # another process was quicker, or a stray file that is not ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(descriptor)
