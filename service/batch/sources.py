"""Files below what the user named: folders of any depth, DICOMDIR media, .zip archives, single files."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from lzma import LZMAError
from pathlib import Path

from pydicom import dcmread

from service.errors import UsageError

MAX_FILE_BYTES = 2 * 1024**3
"""A larger file is passed over: no accepted volume fills it, and an archive's member may claim any size."""
_DICOMDIR = "DICOMDIR"
_ZIP_DAMAGE = (  # what zipfile raises on damaged, encrypted or unsupported content
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FileSource:
    """A file on disk, or a member of a .zip archive."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """Of the file, or of the member."""
        return Path(self.member or self.path).name

    @property
    def place(self) -> str:
        """Where it was found, for summaries: the folder, or the archive and the folder inside it."""
        if not self.member:
            return str(self.path.parent)
        inside = str(Path(self.member).parent)
        return f"{self.path}" if inside == "." else f"{self.path}!{inside}"

    def read(self, first: int | None = None) -> bytes:
        """The whole content, or its first bytes.

        Raises
        ------
        OSError
            It cannot be read, is damaged, encrypted, or larger than `MAX_FILE_BYTES`.
        """
        if not self.member:
            if first is None and self.path.stat().st_size > MAX_FILE_BYTES:
                raise _too_large()
            with self.path.open("rb") as file:
                return file.read(first)
        most = MAX_FILE_BYTES + 1 if first is None else first
        try:
            with _opened(self.path, self.path.stat().st_mtime_ns).open(self.member) as file:
                content = file.read(most)
        except _ZIP_DAMAGE as fault:
            raise OSError(f"the archive's member cannot be read ({type(fault).__name__})") from fault
        if len(content) > MAX_FILE_BYTES:
            raise _too_large()
        return content


@lru_cache(maxsize=2)
def _opened(archive: Path, _modified_ns: int) -> zipfile.ZipFile:
    """Its directory is read once, not again for every one of many thousand members."""
    return zipfile.ZipFile(archive)


def find_files(sources: Sequence[Path]) -> Iterator[FileSource]:
    """Every file below `sources`, each once, in a stable order; what cannot be read is among them.

    Raises
    ------
    UsageError
        Sources do not exist (all are named), or a DICOMDIR cannot be read.
    """
    absent = [str(source) for source in sources if not source.exists()]
    if absent:
        raise UsageError(f"{', '.join(absent)}: not there; accepted: a folder, a DICOMDIR, a .zip archive, or a file")
    seen: set[FileSource] = set()
    for source in sources:
        for found in _below(source):
            if found not in seen:
                seen.add(found)
                yield found


def _below(source: Path) -> Iterator[FileSource]:
    if source.is_dir():
        for path in _walk(source):
            # The directory of a medium lists files that lie beside it, which are found anyway.
            if not _is_dicomdir(path.name):
                yield from _members(path) if zipfile.is_zipfile(path) else (FileSource(path=path),)
    elif _is_dicomdir(source.name):
        yield from _referenced(source)
    elif zipfile.is_zipfile(source):
        yield from _members(source)
    else:
        yield FileSource(path=source)


def _walk(folder: Path) -> Iterator[Path]:
    """Files of any depth, links followed (once round, where they lead back), and what cannot be listed or followed."""
    unlisted: list[Path] = []
    visited: set[Path] = set()

    def note(fault: OSError) -> None:
        unlisted.append(Path(fault.filename))

    for root, folders, names in os.walk(folder, followlinks=True, onerror=note):
        here = Path(root)
        if here.resolve() in visited:
            folders.clear()
            continue
        visited.add(here.resolve())
        folders.sort()
        for name in sorted(names):
            path = here / name
            if path.is_file() or not path.exists():  # neither pipes nor devices; a link to nothing is told
                yield path
    yield from unlisted


def _is_dicomdir(name: str) -> bool:
    return name.upper() == _DICOMDIR  # mounted media often show lower case


def _members(archive: Path) -> Iterator[FileSource]:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = sorted({entry.filename for entry in opened.infolist() if not entry.is_dir()})
    except (*_ZIP_DAMAGE, OSError):
        yield FileSource(path=archive)  # either damaged, or another kind of file that ends like an archive
        return
    for name in names:
        if not _is_dicomdir(Path(name).name):
            yield FileSource(path=archive, member=name)


def _referenced(dicomdir: Path) -> Iterator[FileSource]:
    """The files that a DICOMDIR lists (PS3.3 F.5: Referenced File ID (0004,1500)); absent ones too.

    Those outside of its own folder are not taken: a medium has no business there.
    """
    root = dicomdir.parent.resolve()
    try:
        records = dcmread(dicomdir).get("DirectoryRecordSequence", [])
        listed = [record.get("ReferencedFileID") for record in records]
        paths = [root.joinpath(*([parts] if isinstance(parts, str) else parts)) for parts in listed if parts]
        inside = [path for path in paths if path.resolve().is_relative_to(root)]
    except Exception as fault:  # pydicom raises no closed set of them on damaged bytes
        raise UsageError(f"{dicomdir}: not a readable DICOMDIR; accepted: one, or the folder it is in") from fault
    for path in inside:
        yield FileSource(path=path)


def _too_large() -> OSError:
    return OSError(f"larger than {MAX_FILE_BYTES} bytes")
