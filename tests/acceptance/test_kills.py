"""SIGKILL of the whole service, half a dozen times; ``python -m tests.benchmarks kills`` does it as often as wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.kill_rounds import KILLS_A_ROUND, KillRounds, describe
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.programs import needs
from tests.builders.service_process import ServiceProcess


@needs("Orthanc")
@needs("storescu")
@pytest.mark.needs_orthanc
@pytest.mark.needs_dcmtk
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_service_killed_again_and_again_loses_nothing_and_sends_each_result_once(tmp_path: Path) -> None:
    pacs = Orthanc(verbose=False)
    destinations = (("PACS", pacs.ae_title, pacs.dicom_port),)
    service = ServiceProcess(tmp_path, destinations, "[pairing]\nquiet_seconds = 5\n")
    pacs.know("csf24", Modality(ae_title="CSF24", port=service.port))
    with pacs, service:
        work = KillRounds(service, pacs, tmp_path, seed=24)
        for _ in range(2):
            work.round()
    assert work.tally.kills.total() == 2 * KILLS_A_ROUND
    assert work.tally.faults == [], describe(work.tally)
