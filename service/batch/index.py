"""An index of the DICOM series below some folders: headers only, pixels stay on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.batch.sources import FileSource
from service.dicom.headers import parse_header
from service.dicom.records import InstanceHeader
from service.errors import InputRefused

_NOT_DICOM = "NOT_DICOM"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedInstance:
    """An instance, where it lies, and the SHA-256 of its file."""

    source: FileSource
    header: InstanceHeader
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableFile:
    """A file that looks like DICOM but cannot be used, or that cannot be read."""

    source: FileSource
    code: str
    message: str


@dataclass(slots=True)
class Index:
    """What was found.

    Attributes
    ----------
    series
        By Series Instance UID; an instance that lies there twice with one content is listed once.
    conflicts
        Number of instances, by series, whose UID came with a second content; the first one stands.
    not_dicom
        Number of files that are something else.
    """

    series: dict[str, list[IndexedInstance]] = field(default_factory=dict)
    conflicts: dict[str, int] = field(default_factory=dict)
    unusable: list[UnusableFile] = field(default_factory=list)
    not_dicom: int = 0

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
    known: dict[str, str] = {}
    for source in files:
        on_file()
        try:
            content = source.read()
        except OSError as fault:
            index.unusable.append(
                UnusableFile(source=source, code="FILE_UNREADABLE", message=fault.strerror or str(fault))
            )
            continue
        try:
            header = parse_header(content)
        except InputRefused as refusal:
            reason = refusal.reasons[0]
            if reason.code == _NOT_DICOM:
                index.not_dicom += 1
            else:
                index.unusable.append(UnusableFile(source=source, code=reason.code, message=reason.message))
            continue
        digest = hashlib.sha256(content).hexdigest()
        uid = header.series_instance_uid
        if header.sop_instance_uid not in known:
            known[header.sop_instance_uid] = digest
            index.series.setdefault(uid, []).append(IndexedInstance(source=source, header=header, sha256=digest))
        elif known[header.sop_instance_uid] != digest:
            index.conflicts[uid] = index.conflicts.get(uid, 0) + 1
    return index
