"""Files below what the user named: folders of any depth, DICOMDIR media, .zip archives, single files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from service.errors import UsageError

MAX_FILE_BYTES = 4 * 1024**3
"""A larger file is passed over: no MR object is, and an archive's member may claim any size."""
_DICOMDIR = "DICOMDIR"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FileSource:
    """A file on disk, or a member of a .zip archive."""

    path: Path
    member: str = ""

    @property
    def place(self) -> str:
        """Where it was found, for summaries: the folder, or the archive and the folder inside it."""
        if not self.member:
            return str(self.path.parent)
        inside = str(Path(self.member).parent)
        return f"{self.path}" if inside == "." else f"{self.path}!{inside}"

    def read(self) -> bytes:
        """The whole content.

        Raises
        ------
        OSError
            It cannot be read, is damaged, encrypted, or larger than `MAX_FILE_BYTES`.
        """
        if not self.member:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                raise OSError(f"larger than {MAX_FILE_BYTES} bytes")
            return self.path.read_bytes()
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, KeyError) as fault:
            raise OSError(f"the archive's member cannot be read ({type(fault).__name__})") from fault
        if len(content) > MAX_FILE_BYTES:
            raise OSError(f"larger than {MAX_FILE_BYTES} bytes")
        return content


def find_files(sources: Sequence[Path]) -> Iterator[FileSource]:
    """Every file below `sources`, each once, in a stable order.

    Raises
    ------
    UsageError
        A source does not exist, or a DICOMDIR cannot be read.
    """
    seen: set[FileSource] = set()
    for source in sources:
        if not source.exists():
            raise UsageError(f"{source}: not there; accepted: a folder, a DICOMDIR, a .zip archive, or a file")
        for found in _below(source):
            if found not in seen:
                seen.add(found)
                yield found


def _below(source: Path) -> Iterator[FileSource]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            # The directory of a medium lists files that lie beside it, which are found anyway.
            if path.is_file() and path.name != _DICOMDIR:
                yield from _members(path) if zipfile.is_zipfile(path) else (FileSource(path=path),)
    elif source.name == _DICOMDIR:
        yield from _referenced(source)
    elif zipfile.is_zipfile(source):
        yield from _members(source)
    else:
        yield FileSource(path=source)


def _members(archive: Path) -> Iterator[FileSource]:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = sorted(entry.filename for entry in opened.infolist() if not entry.is_dir())
    except (zipfile.BadZipFile, OSError):
        yield FileSource(path=archive)  # reading it will say what is wrong
        return
    for name in names:
        if Path(name).name != _DICOMDIR:
            yield FileSource(path=archive, member=name)


def _referenced(dicomdir: Path) -> Iterator[FileSource]:
    """The files that a DICOMDIR lists (PS3.3 F.5: Referenced File ID (0004,1500)); absent ones too."""
    try:
        records = dcmread(dicomdir).get("DirectoryRecordSequence", [])
    except (InvalidDicomError, OSError, ValueError, EOFError) as fault:
        raise UsageError(f"{dicomdir}: not a readable DICOMDIR; accepted: one, or the folder it is in") from fault
    root = dicomdir.parent.resolve()
    for record in records:
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        path = root.joinpath(*([parts] if isinstance(parts, str) else parts))
        if path.resolve().is_relative_to(root):
            yield FileSource(path=path)
