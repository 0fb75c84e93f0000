"""Two listeners and three workers on one PostgreSQL and one spool, as separate processes; some die for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cases import CaseState
from tests.builders.kill_rounds import KillRounds, describe
from tests.builders.machines import Machines
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.postgresql import ACCOUNT, postgresql
from tests.builders.programs import needs, wait_until

ELSEWHERE_WITHIN_S = 60.0
CONFIGURATION = 'commitment = "required"\n[pairing]\nquiet_seconds = 5\n'
"""Only a commitment report will do, and the PACS sends it to a listener: never to the worker that waits for it."""


@pytest.fixture
def database() -> Iterator[str]:
    with postgresql() as address:
        yield f"postgresql+psycopg://{ACCOUNT}@/postgres{address}"


@needs("Orthanc")
@needs("storescu")
@pytest.mark.needs_orthanc
@pytest.mark.needs_dcmtk
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_machines_that_die_for_good_lose_nothing_and_others_finish_within_a_minute(
    tmp_path: Path, database: str
) -> None:
    pacs = Orthanc(verbose=False)
    machines = Machines(
        tmp_path,
        (("PACS", pacs.ae_title, pacs.dicom_port),),
        CONFIGURATION,
        database=database,
        listeners=2,
        workers=3,
    )
    pacs.know("csf24", Modality(ae_title="CSF24", port=machines.listeners[-1].port))
    with pacs, machines:
        work = KillRounds(machines, pacs, tmp_path, seed=24)

        patient, before = work.begin()
        acknowledged: set[Path] = set()
        work.send_the_rest(patient, acknowledged)
        work.await_newest(CaseState.RUNNING)
        (worker,) = machines.converting()
        machines.kill_for_good(worker)
        killed_at = time.monotonic()
        work.judge(patient, acknowledged, before)
        took_s = time.monotonic() - killed_at

        patient, before = work.begin()
        acknowledged = set()
        work.kill_while_sending([*patient.baseline, *patient.delayed], acknowledged)
        work.send_the_rest(patient, acknowledged)  # to the other listener
        work.judge(patient, acknowledged, before)

        assert work.tally.faults == [], describe(work.tally) + machines.log()
        assert took_s < ELSEWHERE_WITHIN_S
        ledger = machines.ledger()
        wait_until(lambda: len([w for w in ledger.workers.all() if w.taken_over_at]) == 2, timeout_s=45)
        ledger.close()
        survivor = next(iter(machines.processes.values()))
        page = survivor.get("/").decode()
        assert f"{worker} (work): lost" in page and "listener-0 (listen): lost" in page
        metrics = survivor.get("/metrics").decode()
        assert f'csf24_machine_up{{machine="{worker}"}} 0.0' in metrics
        assert 'csf24_machine_up{machine="listener-1"} 1.0' in metrics
        doctor = survivor.csf24("doctor").stdout
        assert f"{worker} has been silent" in doctor and "alive: listener-1 (listen); worker-" in doctor
