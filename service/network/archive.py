"""A small archive for demonstrations and tests: storage, verification, C-FIND, storage commitment, in a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from service.network import commands, statuses
from service.network.commitment_scp import commitment_service
from service.network.contexts import offered_storage, storage_commitment, study_root_find, verification
from service.network.conversation import Answer, Request
from service.network.listener import Listener, ListenerSettings
from service.network.stack import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.network.storage_scp import ReceivedInstance, storage_services

_MATCH_CLASS_FAILURE = 0xA900  # C-FIND: identifier does not match SOP class, PS3.4 table C.4-1
_PENDING = 0xFF00
_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """UIDs of an object, and its file."""

    keys: tuple[str, ...]
    path: Path


class DemoArchive:
    """A PACS in a folder; not one to trust with anything.

    Objects lie in `folder` as Part 10 files, each named by a hash of its SOP Instance UID; what is in the folder at
    the start is there again. C-FIND answers in the Study Root model at IMAGE level, by single UIDs. Commitments are
    reported at once, on the association of the request, and only for what can be read from the folder.

    Raises
    ------
    OSError
        The folder cannot be made or read; from `start`, the port is taken.
    """

    def __init__(self, folder: Path, settings: ListenerSettings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}
        for path in sorted(folder.glob("*.dcm")):
            self._note(path)
        self._listener = Listener(
            settings,
            contexts=[verification(), *offered_storage(), study_root_find(), storage_commitment()],
            services={
                **storage_services(self._keep),
                commands.C_FIND_RQ: self._find,
                commands.N_ACTION_RQ: commitment_service(self._has),
            },
        )

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._listener.port

    def start(self) -> None:
        """Listen; returns at once."""
        self._listener.start()

    def stop(self) -> None:
        """End all associations and stop listening."""
        self._listener.stop()

    def received(self) -> tuple[Path, ...]:
        """Files of all objects, in order of arrival."""
        with self._lock:
            return tuple(kept.path for kept in self._kept.values())

    def _keep(self, instance: ReceivedInstance) -> int:
        """Success only once the file is durable."""
        name = hashlib.sha256(instance.sop_instance_uid.encode()).hexdigest()[:32]
        path = self._folder / f"{name}.dcm"
        _write_durably(path, _head(instance) + instance.encoded_dataset)
        self._note(path)
        return statuses.SUCCESS

    def _note(self, path: Path) -> None:
        header = dcmread(path, specific_tags=list(_KEYS), stop_before_pixels=True)
        keys = tuple(str(header.get(keyword, "")) for keyword in _KEYS)
        with self._lock:
            self._kept[header.file_meta.MediaStorageSOPInstanceUID] = _Kept(keys=keys, path=path)

    def _has(self, sop_class_uid: str, sop_instance_uid: str) -> bool:
        with self._lock:
            kept = self._kept.get(sop_instance_uid)
        return kept is not None and kept.keys[_KEYS.index("SOPClassUID")] == sop_class_uid and kept.path.is_file()

    def _find(self, request: Request) -> Iterator[Answer]:
        asked = request.identifier()
        if asked.get("QueryRetrieveLevel") != "IMAGE":
            yield Answer(status=_MATCH_CLASS_FAILURE)
            return
        wanted = {keyword: str(asked[keyword].value or "") for keyword in _KEYS if keyword in asked}
        with self._lock:
            kept = [dict(zip(_KEYS, item.keys, strict=True)) for item in self._kept.values()]
        for keys in kept:
            if all(value in ("", keys[keyword]) for keyword, value in wanted.items()):
                match = Dataset()
                match.QueryRetrieveLevel = "IMAGE"
                for keyword in wanted:
                    setattr(match, keyword, keys[keyword])
                yield Answer(status=_PENDING, dataset=match)
        yield Answer(status=statuses.SUCCESS)


def _head(instance: ReceivedInstance) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(instance.sop_instance_uid)
    meta.TransferSyntaxUID = UID(instance.transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = instance.calling_ae
    encoded = DicomBytesIO()
    write_file_meta_info(encoded, meta)
    return b"\0" * 128 + b"DICM" + encoded.getvalue()


def _write_durably(path: Path, content: bytes) -> None:
    """All or nothing: the file takes its name once it is on the disk."""
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as draft:
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
    Path(draft.name).replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
