"""A worker process for the kill tests: real spool, ledger and queue; conversion and PACS are files.

usage: worker_program.py ROOT [--kill POINT] [--executor ID] [--silent-for SECONDS] [--queue URL] [--ledger URL]

Kills itself with SIGKILL at POINT, once per ROOT. Ends with status 0 when no case is unfinished.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.cases import Case, CaseOutcome
from service.dicom.records import StoredInstance
from service.jobs.dbos_queue import DbosQueue
from service.jobs.port import Converted
from service.jobs.recovery import Sweeper, resubmit_unfinished
from service.jobs.results import ConvertedPair, ResultObject
from service.jobs.retry import RetryPolicy
from service.jobs.steps import LedgerCaseSteps, SendResult
from service.storage.ledger import Ledger
from service.storage.spool import Spool

N_OBJECTS = 3


def now() -> datetime:
    return datetime.now(UTC)


class Rig:
    """The fakes, their log, and the point at which the process dies."""

    def __init__(self, root: Path, kill_point: str | None) -> None:
        self.root = root
        self.kill_point = kill_point
        self.pacs = root / "pacs"
        self.pacs.mkdir(exist_ok=True)

    def log(self, line: str) -> None:
        descriptor = os.open(self.root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def reach(self, point: str) -> None:
        if point != self.kill_point:
            return
        marker = self.root / f"killed-{point}"
        if marker.exists():
            return
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def convert_pair(
        self, case: Case, baseline: Sequence[StoredInstance], delayed: Sequence[StoredInstance], directory: Path
    ) -> ConvertedPair:
        self.log("convert")
        objects = []
        for number in range(N_OBJECTS):
            path = directory / f"{number}.dcm"
            path.write_text(f"{case.case_id} {number} {len(baseline)} {len(delayed)}")
            objects.append(ResultObject(sop_class_uid="1.2", sop_instance_uid=f"1.2.3.{number}", path=path))
            self.reach("converting")
        return ConvertedPair(outcome=CaseOutcome.PREDICTED, reasons=(), objects=tuple(objects))

    def send(self, destination: str, objects: Sequence[ResultObject]) -> Sequence[SendResult]:
        self.log("send")
        results = []
        for item in objects:
            with (self.pacs / f"{destination}-{item.sop_instance_uid}").open("a") as archive:
                archive.write(item.path.read_text() + "\n")
            results.append(SendResult(sop_instance_uid=item.sop_instance_uid, accepted=True, status="0x0000"))
            self.reach("sending")
        self.reach("sent")
        return results

    def confirm(self, destination: str, objects: Sequence[ResultObject]) -> Mapping[str, bool]:
        self.log("confirm")
        self.reach("confirming")
        return {item.sop_instance_uid: True for item in objects}


class KilledSteps(LedgerCaseSteps):
    """Dies between the end of a step and the queue's record of it."""

    rig: Rig

    def convert(self, case_id: str, revision: int) -> Converted:
        converted = super().convert(case_id, revision)
        self.rig.reach("converted")
        return converted

    def close(self, case_id: str, revision: int) -> None:
        super().close(case_id, revision)
        self.rig.reach("closed")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--kill")
    parser.add_argument("--executor", default="worker-0")
    parser.add_argument("--silent-for", type=float, default=60.0)
    parser.add_argument("--queue")
    parser.add_argument("--ledger")
    options = parser.parse_args()
    rig = Rig(options.root, options.kill)
    spool = Spool(options.root / "spool", min_free_bytes=0)
    ledger = Ledger.open(options.ledger or f"sqlite:///{options.root}/ledger.sqlite")
    steps = KilledSteps(
        ledger,
        spool,
        convert_pair=rig.convert_pair,
        send=rig.send,
        confirm=rig.confirm,
        destinations=("PACS",),
        now=now,
    )
    steps.rig = rig
    queue = DbosQueue(
        steps,
        database_url=options.queue or f"sqlite:///{options.root}/queue.sqlite",
        executor_id=options.executor,
        policy=RetryPolicy(first_pause_s=0.1, longest_pause_s=0.5),
        poll_interval_s=0.1,
    )
    queue.start()
    if not options.silent_for < 60.0:  # a worker that is to take over does it by its sweeper alone
        resubmit_unfinished(ledger.cases, queue)
    sweeper = Sweeper(
        ledger.workers, queue, executor_id=options.executor, silent_for=timedelta(seconds=options.silent_for)
    )
    while ledger.cases.unfinished():
        ledger.workers.beat(options.executor, now())
        sweeper.tick(now())
        time.sleep(0.05)
    queue.stop(0)
    ledger.close()
    spool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
