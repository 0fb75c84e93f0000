"""A service's ledger and spool with real cases in them, for the status page: converted in this process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset

from service.cases import CaseState, case_id_for
from service.dicom.headers import parse_header
from service.dicom.injection import InjectionTimes
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.errors import Reason
from service.follow_up import FollowUpJudge
from service.imaging.volume import Volume
from service.jobs.assembler import QUIET, Assembler
from service.jobs.follow_ups import FollowUps
from service.jobs.memory_queue import MemoryQueue
from service.jobs.reception import Arrival, Receiver
from service.jobs.retry import RetryPolicy
from service.jobs.spool_conversion import SpoolConversion
from service.jobs.steps import LedgerCaseSteps
from service.monitoring.snapshot import DiskView, StatusSnapshot
from service.status import StatusSource
from service.storage.ledger import Ledger
from service.storage.part10 import split_file
from service.storage.spool import Spool
from tests.builders.conversions import converter, shipped_model
from tests.builders.dicom import classic_series, make_uid, to_bytes
from tests.builders.heads import Head, default_grid, head_volume
from tests.builders.patients import (
    DELAYED_AT,
    INJECTED_AT,
    MOVED,
    baseline_series,
    delayed_series,
    next_day_series,
    unpack_shipped,
)
from tests.builders.scripted_steps import ScriptedSteps
from tests.builders.status import snapshot

OPENED_AT = datetime.fromisoformat("2026-09-10T13:00:00+00:00")
AMBIGUOUS = Reason(
    code="AMBIGUOUS_PAIR",
    message="Two delayed series fit the baseline; say which one to use.",
    measured="2",
    limit="1",
)


@cache
def head_without_tracer() -> Volume:
    """The later head of a failed injection."""
    head = head_volume(Head(noise=0.02, seed=2, gain=1500.0, bias=0.05), default_grid(1.5), MOVED)
    return head.with_array(head.array.round())


class Ward:
    """One data directory, without listener, queue and destinations."""

    def __init__(self, root: Path) -> None:
        self.now = OPENED_AT
        self.spool = Spool(root / "spool", min_free_bytes=0)
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self._root = root
        self._receiver = Receiver(self.spool, self.ledger, now=lambda: self.now)
        self.source = StatusSource(self.ledger, self.spool, required_bytes=1 << 20, parts=self._parts)

    def close(self) -> None:
        self.ledger.close()
        self.spool.close()

    def predicted(self) -> str:
        """The demo's patient, converted; the case id."""
        baseline, delayed = unpack_shipped(self._root / "shipped")
        uids = [self.receive(path.read_bytes() for path in paths) for paths in (baseline, delayed)]
        return self.convert(*uids)

    def refused(self) -> str:
        """A drawn head whose injection failed."""
        before = [to_bytes(dataset) for dataset in baseline_series("P2")]
        after = classic_series(
            head_without_tracer(),
            patient_id="P2",
            study=1,
            series=2,
            acquired_at=DELAYED_AT,
            injected_at=INJECTED_AT,
        )
        return self.convert(self.receive(before), self.receive(to_bytes(dataset) for dataset in after))

    def held(self) -> str:
        """A baseline with two delayed scans that both fit."""
        uids = [self.receive_datasets(baseline_series("P3")[:4])]
        for series in (2, 3):
            later = DELAYED_AT + timedelta(minutes=10 * series)
            uids.append(self.receive_datasets(delayed_series("P3", series=series, acquired_at=later)[:4]))
        case_id = case_id_for(*uids[:2])
        self.ledger.cases.open(
            case_id,
            state=CaseState.HELD,
            patient_key="k3",
            baseline_series_uid=uids[0],
            other_series_uids=uids[1:],
            injection_time=INJECTED_AT,
            reasons=(AMBIGUOUS,),
            now=self.now,
        )
        return case_id

    def failed(self, number: int = 1) -> str:
        """A case that a fault of ours ended."""
        case_id = f"c{number:012x}"
        self.ledger.cases.open(
            case_id,
            state=CaseState.QUEUED,
            patient_key=f"k{case_id}",
            baseline_series_uid=make_uid("P4", 1, 1),
            delayed_series_uid=make_uid("P4", 1, number + 1),
            now=self.now,
        )
        reason = Reason(code="INTERNAL_ERROR", message="an unexpected ValueError ended the step; the log has the place")
        self.ledger.cases.fail(case_id, 1, (reason,), retrying=False, now=self.now)
        return case_id

    def receive_datasets(self, datasets: Sequence[Dataset]) -> str:
        return self.receive(to_bytes(dataset) for dataset in datasets)

    def receive(self, contents: Iterable[bytes]) -> str:
        """Store Part 10 files of one series as C-STORE would; the Series Instance UID."""
        uid = ""
        for content in contents:
            meta, offset = split_file(content)
            arrival = Arrival(
                encoded_dataset=content[offset:],
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                calling_ae="SCANNER",
            )
            self._receiver.receive(arrival)
            uid = uid or parse_header(content).series_instance_uid
        return uid

    def convert(self, baseline_uid: str, delayed_uid: str) -> str:
        """Queue, convert and close a case."""
        case_id = case_id_for(baseline_uid, delayed_uid)
        self.ledger.cases.open(
            case_id,
            state=CaseState.QUEUED,
            patient_key=f"k{case_id}",
            baseline_series_uid=baseline_uid,
            delayed_series_uid=delayed_uid,
            injection_time=INJECTED_AT,
            hours_after_injection=1.5,
            now=self.now,
        )
        steps = LedgerCaseSteps(
            self.ledger,
            self.spool,
            convert_pair=SpoolConversion(self.spool, converter()),
            send=lambda _destination, _objects: (),
            confirm=lambda _destination, _objects: {},
            destinations=(),
            now=lambda: self.now,
        )
        self.now += timedelta(seconds=5)
        steps.convert(case_id, 1)
        self.now += timedelta(seconds=9)
        steps.close(case_id, 1)
        return case_id

    def follow_up(self, patient: str = "P9") -> str:
        """A drawn patient with a prediction, whose scan of the next day comes and is compared; the case id."""
        uids = [self.receive_datasets(series) for series in (baseline_series(patient), delayed_series(patient))]
        self.pair_up()
        self.convert(*uids)
        self.receive_datasets(next_day_series(patient))
        self.now += timedelta(minutes=5)
        self.pair_up()
        judge = FollowUpJudge(shipped_model(), policy=PairingPolicy(), fallback="none", clock=time.perf_counter)
        FollowUps(self.ledger, self.spool, judge, quiet=QUIET, now=lambda: self.now).tick()
        return case_id_for(*uids)

    def compared(self, case_id: str) -> None:
        """Say that a scan of the next day came and was compared."""
        region = {"voxels": 9, "error": 0.05, "persistence_error": 0.2, "bias": -0.01, "increase": 0.3}
        self.ledger.follow_ups.want(case_id, make_uid(case_id), hours=24.0, instances=1, now=self.now)
        figures = {"regions": {"fluid": region}, "coverage": 0.9, "simulated_patient": True}
        self.ledger.follow_ups.judged(
            case_id, 1, hours=24.0, scanner="SIMULATOR", model="volume3d 0.1.0", figures=figures, now=self.now
        )

    def pair_up(self) -> None:
        """What has come since the last time, by the default rules; nothing is converted."""

        def decide(series: Sequence[SeriesSummary], now: datetime, **arrivals: Mapping[str, datetime]) -> object:
            return pair(series, now, policy=PairingPolicy(), injection_times=InjectionTimes(), **arrivals)

        queue = MemoryQueue(ScriptedSteps(), policy=RetryPolicy())
        self.now += QUIET
        Assembler(self.ledger, queue, summarise=summarise, pair=decide, quiet=QUIET).tick(self.now)

    def _parts(self, disk: DiskView) -> StatusSnapshot:
        return replace(snapshot(), disk=disk, taken_at=self.now, ledger=None, cases=())
