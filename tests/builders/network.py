"""Tiny MR objects as files, peers on loopback, and certificates for TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from service.network.listener import ListenerSettings
from service.network.peers import LocalEntity, Peer
from service.network.storage_scp import ReceivedInstance
from service.network.storage_scu import OutgoingInstance
from tests.builders.programs import required

LOOPBACK = "127.0.0.1"
QUICK = LocalEntity(connect_timeout_s=5.0, association_timeout_s=5.0, dimse_timeout_s=10.0, network_timeout_s=20.0)
"""Our side, less patient than by default; tests of silence are less so still."""


def settings(**changes: object) -> ListenerSettings:
    """A listener on a free loopback port, with short timeouts."""
    quick = {"port": 0, "association_timeout_s": 5.0, "network_timeout_s": 10.0}
    return ListenerSettings(**{**quick, **changes})  # type: ignore[arg-type]


def peer(port: int, ae_title: str = "PEER", **changes: object) -> Peer:
    return Peer(**{"name": "pacs", "ae_title": ae_title, "host": LOOPBACK, "port": port, **changes})  # type: ignore[arg-type]


def write_series(
    folder: Path, count: int = 3, *, size: int = 32, transfer_syntax: str = ExplicitVRLittleEndian, key: str = "series"
) -> list[Path]:
    """Part 10 files of one series; the same arguments give the same UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / f"{number:03d}.dcm", number, size, transfer_syntax, key) for number in range(1, count + 1)]


def outgoing(paths: Sequence[Path]) -> list[OutgoingInstance]:
    """As the service would send them."""
    items = []
    for path in paths:
        header = dcmread(path, stop_before_pixels=True)
        items.append(
            OutgoingInstance(
                sop_class_uid=str(header.SOPClassUID), sop_instance_uid=str(header.SOPInstanceUID), path=path
            )
        )
    return items


def encoded_dataset(path: Path) -> bytes:
    """The bytes behind the file meta information."""
    group_length = read_file_meta_info(path).FileMetaInformationGroupLength
    return path.read_bytes()[128 + 4 + 12 + group_length :]


@dataclass(slots=True)
class Inbox:
    """A `Receive` that keeps what comes; `answers` are given in turn, then `otherwise`."""

    answers: list[int | Exception] = field(default_factory=list)
    otherwise: int = 0x0000
    instances: list[ReceivedInstance] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, instance: ReceivedInstance) -> int:
        with self._lock:
            self.instances.append(instance)
            answer = self.answers.pop(0) if self.answers else self.otherwise
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def scripted_peer(handlers: Sequence[tuple[Any, ...]], *offered: str, ae_title: str = "PEER") -> Iterator[Peer]:
    """A pynetdicom application entity that does what the test's handlers say.

    Parameters
    ----------
    offered
        SOP classes, each in both uncompressed transfer syntaxes.
    """
    entity = AE(ae_title=ae_title)
    for sop_class in offered:
        entity.add_supported_context(sop_class, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
    server = entity.make_server((LOOPBACK, 0), evt_handlers=list(handlers), server_class=ThreadedAssociationServer)
    entity._servers.append(server)
    # As start_server does, but that looks for its end every half a second only.
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield peer(server.server_address[1], ae_title)
    finally:
        entity.shutdown()


def associate(
    port: int,
    *proposed: str | tuple[str, str | list[str]],
    calling: str = "CLIENT",
    called: str = "CSF24",
    **options: Any,
) -> Association:
    """An association from a pynetdicom client, for tests that misbehave on it.

    Parameters
    ----------
    proposed
        SOP classes, or each with its transfer syntaxes.
    """
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 5
    contexts = [build_context(*(item if isinstance(item, tuple) else (item,))) for item in proposed]
    assoc = entity.associate(LOOPBACK, port, contexts=contexts, ae_title=called, **options)
    assert assoc.is_established
    return assoc


def association_request(calling: str = "CLIENT", called: str = "CSF24", sop_class: str = "1.2.840.10008.1.1") -> bytes:
    """An A-ASSOCIATE-RQ PDU as bytes (PS3.8 9.3.2), for tests that send less or more of it."""

    def item(kind: int, content: bytes) -> bytes:
        return bytes((kind, 0)) + len(content).to_bytes(2, "big") + content

    context = b"\1\0\0\0" + item(0x30, sop_class.encode()) + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.276.0.7230010.3.0.3.6.7")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = b"\0\1\0\0" + titles + bytes(32) + items
    return b"\1\0" + len(body).to_bytes(4, "big") + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files of an authority, and of a server (127.0.0.1) and a client that it signed."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path) -> Certificates:
    """By openssl; valid for a day."""
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(folder, "req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl(folder, "req", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", f"{name}.ext")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    return Certificates(
        authority=folder / "ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
        client_key=folder / "client.key",
    )


_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([required("openssl"), *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def _write(path: Path, number: int, size: int, transfer_syntax: str, key: str) -> Path:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["csf24-network-tests", key, str(number)])
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["csf24-network-tests", key, "study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["csf24-network-tests", key, "series"])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["csf24-network-tests", key, "frame"])
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "SIMULATED^Network", f"NET-{key}", "", "O"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20240514"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "080000"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "NET", "", ""
    ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "MR", "csf24 tests", 1, number
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "SP", "", "3D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength, ds.FlipAngle = "8", "3.7", 1, "8"
    ds.SliceThickness, ds.PixelSpacing = "1", ["1", "1"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = ["0", "0", str(number)], ["1", "0", "0", "0", "1", "0"]
    ds.PositionReferenceIndicator, ds.PatientPosition = "", "HFS"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = np.random.default_rng(number).integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if UID(transfer_syntax).is_encapsulated:
        ds.compress(transfer_syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    ds.save_as(path, enforce_file_format=True)
    return path
