"""Rounds of SIGKILLs for the whole service: each is one patient on the way from DCMTK's storescu into Orthanc."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random

import pydicom

from service.cases import CaseOutcome, CaseState
from tests.builders.dcmtk import WITHOUT_DELAY
from tests.builders.dicom import make_uid
from tests.builders.network import encoded_dataset
from tests.builders.orthanc import Orthanc
from tests.builders.patients import unpack_shipped
from tests.builders.programs import required
from tests.builders.service_process import SETTLED, ServiceProcess

KILLS_A_ROUND = 3
_CONVERSION_S, _DELIVERY_S = 9.0, 1.5
"""About what they take; kills are spread over it."""
_PATIENCE_S = 240.0
_MOMENTS = ("receiving", "received", "converting", "delivering")
_SENT = re.compile(r"I: Sending file: (\S+)|I: Received Store Response \((\w+)")
_CLOCKS = ("AcquisitionTime", "SeriesTime", "ContentTime", "ContrastBolusStartTime", "ContrastBolusRoute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Files of one patient; of a refused one, the delayed scan is a copy of the baseline."""

    baseline: tuple[Path, ...]
    delayed: tuple[Path, ...]
    outcome: CaseOutcome


@dataclass(slots=True)
class Tally:
    """Where kills fell, and what was found wrong after them.

    Attributes
    ----------
    kills
        By the state that the service was in: what of a series had come, or where the case stood.
    faults
        In words; none, if all is well.
    """

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


def patients(folder: Path, seed: int) -> Iterator[Patient]:
    """Every fourth is predicted; the others are refused, which takes less time."""
    series = unpack_shipped(folder / "shipped")
    number = 0
    while True:
        root = folder / f"{seed}-{number}"
        root.mkdir()
        predicted = number % 4 == 0
        key = f"kill-{seed}-{number}"
        baseline = _as_of(series[0], root / "a", key, "before")
        late = None if predicted else pydicom.dcmread(series[1][0], stop_before_pixels=True)
        delayed = _as_of(series[1] if predicted else series[0], root / "b", key, "after", late)
        yield Patient(
            baseline=baseline, delayed=delayed, outcome=CaseOutcome.PREDICTED if predicted else CaseOutcome.REFUSED
        )
        number += 1


def _as_of(
    paths: Sequence[Path], folder: Path, patient: str, role: str, late: pydicom.Dataset | None = None
) -> tuple[Path, ...]:
    folder.mkdir()
    written = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.PatientID = patient
        dataset.StudyInstanceUID = make_uid(patient, "study")
        dataset.SeriesInstanceUID = make_uid(patient, role)
        dataset.FrameOfReferenceUID = make_uid(patient, role, "frame")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = make_uid(patient, role, path.name)
        for keyword in _CLOCKS if late is not None else ():
            setattr(dataset, keyword, late[keyword].value)
        written.append(folder / path.name)
        dataset.save_as(written[-1])
    return tuple(written)


class KillRounds:
    """One service with one Orthanc, killed again and again.

    Parameters
    ----------
    seed
        The same gives the same patients and moments; where a kill falls depends on the machine as well.
    """

    def __init__(self, service: ServiceProcess, pacs: Orthanc, folder: Path, seed: int) -> None:
        self._service, self._pacs = service, pacs
        self._random = Random(seed)
        self._patients = patients(folder, seed)
        self.tally = Tally()

    def round(self) -> None:
        """One patient, killed `KILLS_A_ROUND` times; the service runs afterwards."""
        patient, before = self.begin()
        acknowledged: set[Path] = set()
        for moment in sorted(self._random.sample(_MOMENTS, KILLS_A_ROUND), key=_MOMENTS.index):
            self._kill_when(moment, patient, acknowledged)
            self._service.start()
        self.send_the_rest(patient, acknowledged)
        self.judge(patient, acknowledged, before)

    def begin(self) -> tuple[Patient, set[str]]:
        """The next patient, and what is in the PACS before."""
        return next(self._patients), set(self._pacs.instances())

    # The moment

    def _kill_when(self, moment: str, patient: Patient, acknowledged: set[Path]) -> None:
        if moment == "receiving":
            files = [path for path in (*patient.baseline, *patient.delayed) if path not in acknowledged]
            self.kill_while_sending(files, acknowledged)
            return
        self.send_the_rest(patient, acknowledged)
        if moment == "received":
            time.sleep(self._random.uniform(0.0, 3.0))
        elif moment == "converting":
            self.await_newest(CaseState.RUNNING, CaseState.SENDING)
            predicted = patient.outcome is CaseOutcome.PREDICTED
            time.sleep(self._random.uniform(0.0, _CONVERSION_S if predicted else 2.0))
        else:
            self.await_newest(CaseState.SENDING)
            time.sleep(self._random.uniform(0.0, _DELIVERY_S))
        case = self._newest()
        stands = "paired by nobody yet" if case is None else f"case {case.state}"
        if case is not None and case.state is CaseState.SENDING:
            stands += ", nothing confirmed" if not case.delivered else ", partly confirmed"
        self._service.kill()
        self.tally.kills[stands] += 1

    def kill_while_sending(self, files: Sequence[Path], acknowledged: set[Path]) -> None:
        """Who receives is killed; what it acknowledged is added."""
        rows, spooled = self._recorded(), self._spooled()
        sender = self._sender(files)
        time.sleep(self._random.uniform(0.05, 2.5))
        finished = sender.poll() is not None
        self._service.kill()
        told = self._answers(sender)
        acknowledged |= told
        spooled, rows = self._spooled() - spooled, self._recorded() - rows
        if finished:
            where = "between associations"
        elif spooled > rows:
            where = "in an association, between file and row"
        elif rows > len(told):
            where = "in an association, between row and answer"
        else:
            where = "in an association, between two instances"
        self.tally.kills[where] += 1

    def await_newest(self, *states: CaseState) -> None:
        """Until the newest case is in one of these states, or beyond them."""
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up:
            case = self._newest()
            if case is not None and case.state in (*states, *SETTLED):
                return
            time.sleep(0.02)
        raise AssertionError(f"no case became {states} within {_PATIENCE_S:g} s\n{self._service.log()[-3000:]}")

    def _newest(self):
        cases = self._service.cases()
        return max(cases, key=lambda case: case.created_at) if len(cases) > self.tally.rounds else None

    # Sending, as a PACS does: what was not acknowledged is sent again

    def _sender(self, files: Sequence[Path]) -> subprocess.Popen[str]:
        command = [required("storescu"), "-v", "-R", "-nh", "-xt", "-td", "20", "-aet", "DCMTK", "-aec", "CSF24"]
        return subprocess.Popen(
            [*command, "127.0.0.1", str(self._service.port), *map(str, files)],
            env=WITHOUT_DELAY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @staticmethod
    def _answers(sender: subprocess.Popen[str]) -> set[Path]:
        text, _ = sender.communicate(timeout=120)
        acknowledged: set[Path] = set()
        path = ""
        for sent, status in _SENT.findall(text):
            path = sent or path
            if status == "Success":
                acknowledged.add(Path(path))
        return acknowledged

    def send_the_rest(self, patient: Patient, acknowledged: set[Path]) -> None:
        """What is missing of both series; what was acknowledged is added."""
        for series in (patient.baseline, patient.delayed):
            missing = [path for path in series if path not in acknowledged]
            if missing:
                acknowledged |= self._answers(self._sender(missing))

    # What is left

    def _recorded(self) -> int:
        ledger = self._service.ledger()
        try:
            return ledger.counts().instances
        finally:
            ledger.close()

    def _spooled(self) -> int:
        return sum(1 for _ in self._service.data.glob("spool/objects/*/*.dcm"))

    def judge(self, patient: Patient, acknowledged: set[Path], before: set[str]) -> None:
        """Wait for the end, and compare what was acknowledged, recorded, made and sent."""
        wrong = self.tally.faults.append
        number = self.tally.rounds
        cases = self._service.await_cases(
            lambda found: len(found) == number + 1 and all(case.state in SETTLED for case in found), timeout_s=240
        )
        case = max(cases, key=lambda item: item.created_at)
        if (case.state, case.outcome, case.revision) != (CaseState.DONE, patient.outcome, 1):
            wrong(f"round {number}: the case ended as {case.state}, {case.outcome}, revision {case.revision}")
        missing = [path for path in (*patient.baseline, *patient.delayed) if path not in acknowledged]
        if missing:
            wrong(f"round {number}: {len(missing)} instances were never acknowledged")
        lost = acknowledged - self._kept(acknowledged)
        if lost:
            wrong(f"round {number}: {len(lost)} acknowledged instances are not in the spool byte for byte")
        new = [pydicom.dcmread(BytesIO(self._pacs.get(f"instances/{i}/file")))
               for i in set(self._pacs.instances()) - before]  # fmt: skip
        made = sorted(self._service.data.glob(f"spool/results/{case.case_id}/r*/**/*.dcm"))
        results = {str(d.SOPInstanceUID): sha256(d.PixelData).digest() for d in map(pydicom.dcmread, made)}
        in_pacs = {str(d.SOPInstanceUID): sha256(d.PixelData).digest() for d in new}
        if not (len(new) == case.deliverable == len(results) and in_pacs == results):
            wrong(f"round {number}: {len(new)} objects in the PACS, {len(results)} results, {case.deliverable} to send")
        self.tally.rounds += 1
        self.tally.acknowledged += len(acknowledged)

    def _kept(self, acknowledged: set[Path]) -> set[Path]:
        ledger = self._service.ledger()
        try:
            kept = set()
            for path in acknowledged:
                header = pydicom.dcmread(path, stop_before_pixels=True)
                for stored in ledger.instances.instances_of(str(header.SeriesInstanceUID)):
                    if stored.sop_instance_uid == header.SOPInstanceUID:
                        content = (self._service.data / "spool" / stored.relative_path).read_bytes()
                        if content.endswith(encoded_dataset(path)):
                            kept.add(path)
            return kept
        finally:
            ledger.close()


def describe(tally: Tally) -> str:
    """As a table."""
    lines = [f"{count:6}  killed {where}" for where, count in sorted(tally.kills.items())]
    lines.append(f"{tally.kills.total():6}  kills (SIGKILL, {signal.SIGKILL.value}) in {tally.rounds} patients; "
                 f"{tally.acknowledged} acknowledged instances compared byte for byte")  # fmt: skip
    lines += [f"WRONG   {fault}" for fault in tally.faults] or ["   all acknowledged instances kept, every case ended, "
                                                                "each result once in Orthanc"]  # fmt: skip
    return "\n".join(lines)
