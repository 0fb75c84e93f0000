"""A private Orthanc on free ports: an archive with storage commitment that we did not write."""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.builders.dcmtk import WITHOUT_DELAY
from tests.builders.programs import free_ports, required, wait_until

OURS = "CSF24"
DEAF = "DEAF"
"""Known to Orthanc under a port on which nobody listens, as where the return path is not configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """A peer that Orthanc knows: it may send, ask, and gets commitment reports at host and port."""

    ae_title: str
    port: int
    host: str = "127.0.0.1"


class Orthanc:
    """Runs as a context manager; everything it writes is below a temporary directory.

    Parameters
    ----------
    modalities
        Peers by symbolic name.
    options
        Further configuration, as in its JSON file.
    verbose
        What is logged; it costs a receiver of many images time.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality] = {},
        *,
        ae_title: str = "ORTHANC",
        options: Mapping[str, object] = {},
        verbose: bool = True,
    ) -> None:
        self.ae_title = ae_title
        self.dicom_port, self.http_port = free_ports(2)
        self._modalities = dict(modalities)
        self._options = options
        self._log_level = ("--verbose",) if verbose else ()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def know(self, name: str, modality: Modality) -> None:
        """One more peer; before it starts."""
        self._modalities[name] = modality

    def __enter__(self) -> Orthanc:
        self._directory = tempfile.TemporaryDirectory(prefix="csf24-orthanc-")
        root = Path(self._directory.name)
        (root / "orthanc.json").write_text(json.dumps(self._configuration(root)))
        with (root / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [required("Orthanc"), *self._log_level, str(root / "orthanc.json")],
                env=WITHOUT_DELAY,
                stdout=log,
                stderr=log,
                cwd=root,
            )
        try:
            wait_until(self._answers, timeout_s=30)
        except AssertionError:
            text = self.log()
            self.__exit__(None, None, None)
            raise AssertionError(f"Orthanc did not start:\n{text[-2000:]}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._directory is not None:
            self._directory.cleanup()

    def log(self) -> str:
        assert self._directory is not None
        return (Path(self._directory.name) / "log.txt").read_text(errors="replace")

    def get(self, path: str) -> bytes:
        """GET of its REST interface, e.g. ``instances``."""
        with urllib.request.urlopen(self._url(path), timeout=10) as answer:
            return answer.read()

    def json(self, path: str) -> object:
        return json.loads(self.get(path))

    def post(self, path: str, body: object) -> object:
        request = urllib.request.Request(self._url(path), data=json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def delete(self, path: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(self._url(path), method="DELETE"), timeout=10):
            pass

    def clear(self) -> None:
        """Delete every patient."""
        patients = self.json("patients")
        assert isinstance(patients, list)
        for patient in patients:
            self.delete(f"patients/{patient}")

    def instances(self) -> list[str]:
        """Orthanc's own identifiers of all instances."""
        found = self.json("instances")
        assert isinstance(found, list)
        return found

    def find(self, sop_instance_uid: str) -> str | None:
        """Orthanc's own identifier of an instance."""
        found = self.post("tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}})
        assert isinstance(found, list)
        return found[0] if found else None

    def file_of(self, sop_instance_uid: str) -> bytes:
        """The Part 10 file that it keeps of an instance."""
        identifier = self.find(sop_instance_uid)
        assert identifier is not None, "not in Orthanc"
        return self.get(f"instances/{identifier}/file")

    def send(self, modality: str, sop_instance_uids: list[str]) -> object:
        """Have it C-STORE instances to one of its modalities."""
        identifiers = [self.find(uid) for uid in sop_instance_uids]
        return self.post(f"modalities/{modality}/store", {"Resources": identifiers, "Synchronous": True})

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}/{path}"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Orthanc ended"
        try:
            self.get("system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _configuration(self, root: Path) -> dict[str, object]:
        return {
            "Name": "csf24 tests",
            "StorageDirectory": str(root / "storage"),
            "IndexDirectory": str(root / "index"),
            "SyncStorageArea": True,
            "StableAge": 1,
            "Plugins": [],
            "HttpPort": self.http_port,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomScuTimeout": 10,
            "StorageCommitmentReportsSize": 100,
            "DicomModalities": {
                name: {
                    "AET": peer.ae_title,
                    "Host": peer.host,
                    "Port": peer.port,
                    "AllowEcho": True,
                    "AllowFind": True,
                    "AllowGet": True,
                    "AllowMove": True,
                    "AllowStore": True,
                    "AllowStorageCommitment": True,
                }
                for name, peer in self._modalities.items()
            },
            **self._options,
        }
