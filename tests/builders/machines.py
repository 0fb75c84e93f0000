"""Several listeners and workers on one PostgreSQL and one spool, each a process that passes for a machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from dbos import DBOSClient

from tests.builders.service_process import ServiceProcess


class Machines(ServiceProcess):
    """Seen as one service: its port is that of the first listener that is alive, which `kill` kills.

    Parameters
    ----------
    destinations, extra, database
        As of `ServiceProcess`; all have the same.
    """

    def __init__(
        self,
        root: Path,
        destinations: tuple[tuple[str, str, int], ...],
        extra: str,
        *,
        database: str,
        listeners: int,
        workers: int,
    ) -> None:
        names = [(f"listener-{number}", "listen") for number in range(listeners)]
        names += [(f"worker-{number}", "work") for number in range(workers)]
        self._database_url = database
        self.data = root / "shared"
        self.processes: dict[str, ServiceProcess] = {}
        for name, role in names:
            (root / name).mkdir()
            self.processes[name] = ServiceProcess(
                root / name,
                destinations,
                extra,
                {"CSF24_WORKERS__EXECUTOR_ID": name},
                database,
                roles=(role,),
                data=self.data,
            )

    @property
    def port(self) -> int:
        return self.listeners[0].port

    @property
    def listeners(self) -> list[ServiceProcess]:
        return [process for name, process in self.processes.items() if name.startswith("listener")]

    def start(self) -> None:
        with ThreadPoolExecutor() as pool:  # on an empty database, all at once
            list(pool.map(ServiceProcess.start, self.processes.values()))

    def __enter__(self) -> Machines:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(ServiceProcess.stop, self.processes.values()))

    def kill(self) -> None:
        """The first listener, for good."""
        self.kill_for_good(next(name for name in self.processes if name.startswith("listener")))

    def kill_for_good(self, name: str) -> None:
        self.processes.pop(name).kill()

    def converting(self) -> Sequence[str]:
        """Names of the workers that have a conversion in work."""
        client = DBOSClient(system_database_url=self._database_url)
        try:
            rows = client.list_workflows(status="PENDING", name="convert_case", load_input=False, load_output=False)
            return [str(row.executor_id) for row in rows]
        finally:
            client.destroy()

    def log(self) -> str:
        return "".join(f"--- {name}\n{process.log()[-2000:]}\n" for name, process in self.processes.items())

    def ledger(self):
        return next(iter(self.processes.values())).ledger()
