"""An index of the DICOM series below some folders: headers only, pixels stay on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from service.batch.archives import HEAD, unopened_archive
from service.batch.sources import FileSource
from service.dicom.headers import parse_header
from service.dicom.records import InstanceHeader
from service.dicom.same_image import same_image
from service.errors import InputRefused

_NOT_DICOM = "NOT_DICOM"
_PREFIX_AT, _PREFIX_END = 128, 132


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedInstance:
    """An instance, where it lies, and the SHA-256 of its file."""

    source: FileSource
    header: InstanceHeader
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableFile:
    """A file that looks like DICOM but cannot be used, or that cannot be read.

    Attributes
    ----------
    container
        The archive or folder that could not be read, or not whole: who knows how many series it holds.
    """

    source: FileSource
    code: str
    message: str
    container: Path | None = None


@dataclass(slots=True)
class Index:
    """What was found.

    Attributes
    ----------
    series
        By Series Instance UID; an instance that lies there twice with one image is listed once: of several files the
        one whose SHA-256 comes first, so that the order of a folder changes nothing.
    conflicts
        Number of instances, by series, whose UID came with a second image, in that series or another.
    recoded
        Number of further files with the image of another one, in another encoding or with other words in the header.
    not_dicom
        Number of files that are something else.
    """

    series: dict[str, list[IndexedInstance]] = field(default_factory=dict)
    conflicts: dict[str, int] = field(default_factory=dict)
    unusable: list[UnusableFile] = field(default_factory=list)
    not_dicom: int = 0
    recoded: int = 0

    @property
    def unread(self) -> dict[Path, str]:
        """Archives and folders that could not be read, or not whole, and the first fault of each."""
        found: dict[Path, str] = {}
        for file in self.unusable:
            if file.container is not None:
                found.setdefault(file.container, file.message)
        return found

    @property
    def patients(self) -> dict[str, list[str]]:
        """Series UIDs by Patient ID; a series without one stands with its study alone."""
        found: dict[str, list[str]] = {}
        for uid, instances in self.series.items():
            header = instances[0].header
            found.setdefault(header.patient_id.strip() or header.study_instance_uid, []).append(uid)
        return found


def build_index(files: Iterable[FileSource], *, on_file: Callable[[], None] = lambda: None) -> Index:
    """Read the header of every file; one bad file does not disturb the others."""
    index = Index()
    known: dict[str, IndexedInstance] = {}
    for source in files:
        on_file()
        try:
            head = source.read(HEAD)
            content = source.read() if _may_be_dicom(head) else b""
        except OSError as fault:
            index.unusable.append(_unreadable(source, fault.strerror or str(fault)))
            continue
        archive = None if content else unopened_archive(source.name, head, nested=bool(source.member))
        if archive is not None:
            index.unusable.append(_unreadable(source, f"it is {archive}", container=source.path))
            continue
        try:
            header = parse_header(content)
        except InputRefused as refusal:
            reason = refusal.reasons[0]
            if reason.code == _NOT_DICOM and not _has_prefix(content):
                index.not_dicom += 1
            else:
                index.unusable.append(UnusableFile(source=source, code=reason.code, message=reason.message))
            continue
        found = IndexedInstance(source=source, header=header, sha256=hashlib.sha256(content).hexdigest())
        first = known.setdefault(header.sop_instance_uid, found)
        if first is found:
            index.series.setdefault(header.series_instance_uid, []).append(found)
        elif first.sha256 != found.sha256 and _same_image(first, content):
            index.recoded += 1
            if found.sha256 < first.sha256:
                known[header.sop_instance_uid] = found
                series = index.series[header.series_instance_uid]
                series[series.index(first)] = found
        elif first.sha256 != found.sha256:
            # Which image is the right one cannot be told, nor, if it names two series, where it belongs.
            for uid in {first.header.series_instance_uid, header.series_instance_uid}:
                index.conflicts[uid] = index.conflicts.get(uid, 0) + 1
    return index


def _same_image(first: IndexedInstance, content: bytes) -> bool:
    try:
        return same_image(first.source.read(), content)
    except OSError:  # it was there a moment ago
        return False


def _unreadable(source: FileSource, message: str, *, container: Path | None = None) -> UnusableFile:
    if container is None and (source.member or source.path.is_dir()):
        container = source.path
    return UnusableFile(source=source, code="FILE_UNREADABLE", message=message, container=container)


def _has_prefix(content: bytes) -> bool:
    return content[_PREFIX_AT:_PREFIX_END] == b"DICM"


def _may_be_dicom(head: bytes) -> bool:
    """What certainly is something else, a film of gigabytes for instance, need not be read whole.

    Files without the prefix start with an element of the group of file meta information or of SOP common ones.
    """
    return _has_prefix(head) or head[:2] in (b"\x02\x00", b"\x08\x00")
