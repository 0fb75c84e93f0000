"""The demo's PACS: Orthanc where it is installed, else this project's own small archive."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from pydicom import dcmread

from service.errors import PeerUnavailable
from service.network.archive import DemoArchive
from service.network.listener import ListenerSettings

_AE_TITLE = "DEMO_PACS"
_LOOPBACK = "127.0.0.1"
_PLACES = ("/usr/sbin/Orthanc", "/usr/local/sbin/Orthanc")  # Debian does not put it on everyone's PATH
_START_S = 30.0


class DemoPacs(Protocol):
    """What the demo needs of a PACS."""

    @property
    def name(self) -> str:
        """For the screen."""
        ...

    @property
    def hint(self) -> str:
        """What else could be had, for the screen; may be empty."""
        ...

    @property
    def ae_title(self) -> str:
        """Its AE title."""
        ...

    @property
    def port(self) -> int:
        """Its DICOM port on loopback."""
        ...

    def introduce(self, ae_title: str, port: int) -> None:
        """Tell it of the service, so that it can report storage commitments."""
        ...

    def count_equal(self, objects: Sequence[Path]) -> int:
        """How many of these Part 10 files it holds with equal pixel data."""
        ...


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_pacs(folder: Path) -> Iterator[DemoPacs]:
    """A PACS with its data below `folder`, stopped at the end.

    Raises
    ------
    PeerUnavailable
        Orthanc is installed but did not start.
    """
    program = orthanc_program()
    pacs = _OwnArchive(folder) if program is None else _Orthanc(folder, program)
    try:
        pacs.start()
        yield pacs
    finally:
        pacs.stop()


def orthanc_program() -> str | None:
    """Where Orthanc is installed, if it is."""
    return shutil.which("Orthanc") or next((place for place in _PLACES if Path(place).is_file()), None)


class _OwnArchive:
    name = "csf24's own demo archive"
    hint = "              with Orthanc installed, the demo uses that"
    ae_title = _AE_TITLE

    def __init__(self, folder: Path) -> None:
        self._archive = DemoArchive(folder, ListenerSettings(ae_title=_AE_TITLE, host=_LOOPBACK, port=0))

    @property
    def port(self) -> int:
        return self._archive.port

    def start(self) -> None:
        self._archive.start()

    def stop(self) -> None:
        self._archive.stop()

    def introduce(self, ae_title: str, port: int) -> None:
        """Nothing: it reports commitments on the association of the request."""

    def count_equal(self, objects: Sequence[Path]) -> int:
        received = {_pixel_digest(path.read_bytes()) for path in self._archive.received()}
        return sum(_pixel_digest(path.read_bytes()) in received for path in objects)


class _Orthanc:
    hint = ""
    ae_title = _AE_TITLE

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self.port = free_port()
        self._http_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.name = "Orthanc"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "orthanc.json"
        settings = {
            "Name": "csf24 demo",
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": _AE_TITLE,
            "DicomPort": self.port,
            "DicomModalitiesInDatabase": True,
            "DicomAlwaysAllowEcho": False,  # it listens on every interface: only whom we introduce may do anything
            "DicomAlwaysAllowStore": False,
            "Plugins": [],
        }
        config.write_text(json.dumps(settings), encoding="utf-8")
        with (self._folder / "orthanc.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the installed one
                [self._program, str(config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "TCP_NODELAY": "1"},  # else DCMTK, inside it, answers 20 C-STOREs a second
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.name = f"Orthanc {self._get('/system')['Version']}"
            except OSError:  # urllib's own errors are
                time.sleep(0.1)
            else:
                return
        raise PeerUnavailable(f"Orthanc did not start; see {self._folder / 'orthanc.log'}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def introduce(self, ae_title: str, port: int) -> None:
        body = json.dumps({"AET": ae_title, "Host": _LOOPBACK, "Port": port}).encode()
        self._request("PUT", f"/modalities/{ae_title}", body)

    def count_equal(self, objects: Sequence[Path]) -> int:
        held = {
            _pixel_digest(self._request("GET", f"/instances/{instance}/file")) for instance in self._get("/instances")
        }
        return sum(_pixel_digest(path.read_bytes()) in held for path in objects)

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self._request("GET", path))

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://{_LOOPBACK}:{self._http_port}{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
            content: bytes = response.read()
            return content


def _pixel_digest(part10: bytes) -> str:
    """Of SOP Instance UID and pixels; an archive may write file meta information and encoding anew."""
    dataset = dcmread(BytesIO(part10))
    return hashlib.sha256(str(dataset.SOPInstanceUID).encode() + bytes(dataset.get("PixelData", b""))).hexdigest()
