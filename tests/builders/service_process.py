"""`csf24 serve` as a process of its own, as an administrator runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from service.cases import Case, CaseState
from service.errors import PeerUnavailable
from service.network.peers import LocalEntity, Peer
from service.network.storage_scu import echo
from service.storage.ledger import Ledger
from tests.builders.programs import free_ports, wait_until

REPOSITORY = Path(__file__).parents[2]
CALLING = "DCMTK"
SETTLED = (CaseState.DONE, CaseState.HELD, CaseState.DISCARDED)


class ServiceProcess:
    """One data directory and configuration; may be started, killed and started again.

    Parameters
    ----------
    destinations
        (name, AE title, port) of peers on loopback.
    extra
        Further TOML.
    environment
        Further variables.
    database
        URL of the ledger; SQLite in the data directory without one.
    roles
        What it does of what the service does.
    data
        The data directory, where it is shared.
    """

    def __init__(
        self,
        root: Path,
        destinations: tuple[tuple[str, str, int], ...] = (),
        extra: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
        database: str = "",
        *,
        roles: tuple[str, ...] = ("listen", "work"),
        data: Path | None = None,
    ) -> None:
        self._variables = environment
        self._roles = roles
        self.root = root
        self.port, self.page_port = free_ports(2)
        self.data = data or root / "csf24-data"
        self.config = root / "csf24.toml"
        self._database = database
        callers = [CALLING, *(ae_title for _, ae_title, _ in destinations)]
        lines = [
            f"[listener]\nport = {self.port}\ncalling_ae_titles = {json.dumps(callers)}",
            f"[service]\nroles = {json.dumps(roles)}",
            f"[status_page]\nport = {self.page_port}",
            f"[storage]\ndirectory = {json.dumps(str(self.data))}\nmin_free_mb = 64\ndatabase = {json.dumps(database)}",
            *(
                f'[[destinations]]\nname = "{name}"\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {port}'
                for name, ae_title, port in destinations
            ),
        ]
        self.config.write_text("\n".join(lines) + "\n" + extra)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServiceProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CSF24_")}
        with (self.root / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve", "--config", str(self.config)],
                env={**environment, **self._variables, "PYTHONPATH": str(REPOSITORY)},
                cwd=self.root,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._answers, timeout_s=60)
        except AssertionError:
            raise AssertionError(f"the service did not start:\n{self.log()[-3000:]}") from None

    def move(self, data: Path) -> None:
        """Have the configuration name another data directory, as on a new machine."""
        text = self.config.read_text()
        moved = text.replace(json.dumps(str(self.data)), json.dumps(str(data)))
        assert moved != text
        self.config.write_text(moved)
        self.data = data

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        status = self._process.wait(60)
        self._process = None
        return status

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def log(self) -> str:
        return (self.root / "service.log").read_text(errors="replace")

    def resident_mb(self) -> float:
        """Memory that the process holds now."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def get(self, path: str) -> bytes:
        """Of the status page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page_port}{path}", timeout=10) as answer:
            return answer.read()

    def cases(self) -> tuple[Case, ...]:
        ledger = self.ledger()
        try:
            return ledger.cases.cases()
        finally:
            ledger.close()

    def ledger(self) -> Ledger:
        return Ledger.open(self._database or f"sqlite:///{self.data}/ledger.sqlite")

    def await_cases(self, wanted: Callable[[tuple[Case, ...]], bool], timeout_s: float = 120) -> tuple[Case, ...]:
        """The cases once they are as `wanted`."""
        try:
            wait_until(lambda: wanted(self.cases()), timeout_s=timeout_s)
        except AssertionError:
            found = [(c.state.value, [r.code for r in c.reasons], c.delivered, c.deliverable) for c in self.cases()]
            raise AssertionError(f"cases: {found}\n{self.log()[-3000:]}") from None
        return self.cases()

    def await_settled(self, count: int = 1, timeout_s: float = 120) -> tuple[Case, ...]:
        """Once there are `count` cases, each done, held or discarded."""
        return self.await_cases(lambda cases: len(cases) == count and all(c.state in SETTLED for c in cases), timeout_s)

    def csf24(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the administrator's, with this service's configuration."""
        return csf24(*arguments, "--config", str(self.config), cwd=self.root)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the process ended"
        try:
            if "listen" in self._roles:
                echo(
                    Peer(name="service", ae_title="CSF24", host="127.0.0.1", port=self.port),
                    LocalEntity(ae_title=CALLING, connect_timeout_s=1),
                )
            self.get("/healthz")
        except (PeerUnavailable, urllib.error.URLError, ConnectionError):
            return False
        return True


def csf24(*arguments: str, cwd: Path, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    """The command line, in its own process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CSF24_")}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
