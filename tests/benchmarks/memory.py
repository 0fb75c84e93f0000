"""Memory of the running service over many received instances; ``python -m tests.benchmarks memory [COUNT]``."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from tests.builders.dcmtk import run
from tests.builders.network import write_series
from tests.builders.programs import path_of
from tests.builders.service_process import CALLING, ServiceProcess

_STEPS = 10
_FILES = 50
_SIDE = 128


def main(count: int = 100_000, seed: int = 24) -> bool:
    """Whether memory grew by more than a tenth from the second half's start to its end."""
    if path_of("storescu") is None:
        print("Memory: not measured, DCMTK is not installed")
        return False
    with TemporaryDirectory() as folder, ServiceProcess(Path(folder)) as service:
        files = write_series(Path(folder) / "sent", _FILES, size=_SIDE, key=f"memory-{seed}")
        repeats = max(1, count // _STEPS // _FILES)
        print(f"Memory over {repeats * _FILES * _STEPS} instances of {_SIDE} x {_SIDE} x 16 bit, 400 of each patient\n")
        print(f"{'instances':>10}{'MB':>8}{'a second':>10}")
        used = []
        for step in range(_STEPS):
            began = time.perf_counter()
            done = run(
                "storescu", "-R", "-nh", "--repeat", str(repeats), "+IR", "200", "+IS", "2", "+IP", "1",
                "-aet", CALLING, "-aec", "CSF24",
                "127.0.0.1", str(service.port), *files, timeout_s=3600,
            )  # fmt: skip
            assert done.status == 0, done.text[-2000:]
            used.append(service.resident_mb())
            rate = repeats * _FILES / (time.perf_counter() - began)
            print(f"{repeats * _FILES * (step + 1):10}{used[-1]:8.0f}{rate:10.0f}", flush=True)
        recorded = _recorded(service)
    print(f"\n{recorded} recorded")
    return (
        mean(used[-2:]) > 1.1 * mean(used[_STEPS // 2 - 1 : _STEPS // 2 + 1]) or recorded != repeats * _FILES * _STEPS
    )


def _recorded(service: ServiceProcess) -> int:
    ledger = service.ledger()
    try:
        return ledger.counts().instances
    finally:
        ledger.close()
