"""Kills the whole service over and over, on SQLite and on PostgreSQL, and looks for what was lost or came twice."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.builders.kill_rounds import KILLS_A_ROUND, KillRounds, describe
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.postgresql import ACCOUNT, postgresql
from tests.builders.service_process import ServiceProcess

_QUICK = "[pairing]\nquiet_seconds = 5\n"


def main(kills: int = 200, seed: int = 24) -> bool:
    """Half of the kills on each database; whether anything was wrong."""
    wrong = False
    for database in ("SQLite", "PostgreSQL"):
        rounds = max(1, round(kills / 2 / KILLS_A_ROUND))
        with TemporaryDirectory() as folder, ExitStack() as stack:
            root = Path(folder)
            url = ""
            if database == "PostgreSQL":
                url = f"postgresql+psycopg://{ACCOUNT}@/postgres{stack.enter_context(postgresql())}"
            pacs = Orthanc({}, verbose=False)
            service = ServiceProcess(root, (("PACS", pacs.ae_title, pacs.dicom_port),), _QUICK, database=url)
            pacs.know("csf24", Modality(ae_title="CSF24", port=service.port))
            stack.enter_context(pacs)
            stack.enter_context(service)
            work = KillRounds(service, pacs, root, seed)
            for _ in range(rounds):
                work.round()
            print(f"Kills, {database}\n\n{describe(work.tally)}\n", flush=True)
            wrong |= bool(work.tally.faults)
    return wrong
