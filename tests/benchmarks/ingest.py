"""Instances per second that are acknowledged: csf24 and Orthanc (both synced) beside DCMTK's storescp (not synced).

Sender is DCMTK's storescu with TCP_NODELAY=1, as one association and as eight at a time; all on one machine, whose
processors the senders need too. Each round sends fresh instances to each receiver in turn; medians over rounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from service.imaging.volume import Grid, Volume
from tests.builders.dcmtk import storescp, storescu
from tests.builders.dicom import classic_series, to_bytes
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.programs import path_of
from tests.builders.service_process import CALLING, ServiceProcess

COUNT, SIDE, ROUNDS, MANY = 200, 512, 5, 8
OURS, ORTHANC, STORESCP = "csf24 serve (synced)", "Orthanc (synced)", "DCMTK storescp (no sync)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where a storage SCP listens."""

    port: int
    ae_title: str


def main() -> None:
    missing = [program for program in ("storescu", "Orthanc") if path_of(program) is None]
    if missing:
        print(f"Ingest: not measured, not installed: {', '.join(missing)}")
        return
    with TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        (root / "service").mkdir()
        service = stack.enter_context(ServiceProcess(root / "service"))
        orthanc = stack.enter_context(Orthanc({"sender": Modality(ae_title=CALLING, port=1)}, verbose=False))
        receivers = {
            OURS: Receiver(port=service.port, ae_title="CSF24"),
            ORTHANC: Receiver(port=orthanc.dicom_port, ae_title=orthanc.ae_title),
            STORESCP: Receiver(port=stack.enter_context(storescp(root / "storescp", "--fork")), ae_title="STORESCP"),
        }
        print(f"Ingest: {COUNT} instances of {SIDE} x {SIDE} x 16 bit, median of {ROUNDS} rounds, instances/s\n")
        print(f"{'associations at a time':26}{'1':>8}{MANY:>8}")
        one, many = (_rates(root / str(n), receivers, associations=n) for n in (1, MANY))
        for name in receivers:
            print(f"{name:26}{median(one[name]):8.0f}{median(many[name]):8.0f}")
        for name in (ORTHANC, STORESCP):
            ratios = (median(rates[OURS]) / median(rates[name]) for rates in (one, many))
            print(f"{'csf24 / ' + name.split(' (')[0]:26}" + "".join(f"{ratio:8.2f}" for ratio in ratios))


def _rates(root: Path, receivers: Mapping[str, Receiver], *, associations: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in receivers}
    for number in range(ROUNDS):
        files = _series(root / str(number), number * 100 + associations)
        shares = [files[first::associations] for first in range(associations)]
        for name, receiver in receivers.items():
            begin = time.perf_counter()
            _send(receiver, shares)
            rates[name].append(COUNT / (time.perf_counter() - begin))
    return rates


def _send(receiver: Receiver, shares: Sequence[Sequence[Path]]) -> None:
    with ThreadPoolExecutor(len(shares)) as pool:
        for done in pool.map(lambda share: storescu(receiver.port, share, called=receiver.ae_title), shares):
            assert done.status == 0, done.text


def _series(folder: Path, seed: int) -> list[Path]:
    folder.mkdir(parents=True)
    array = np.random.default_rng(seed).integers(0, 4000, (COUNT, SIDE, SIDE)).astype(np.float32)
    volume = Volume(array, Grid.axis_aligned((COUNT, SIDE, SIDE), 0.5, (0, 0, 0)))
    paths = []
    for number, dataset in enumerate(classic_series(volume, patient_id=f"BENCH{seed}", series=seed + 1)):
        paths.append(folder / f"{number:04d}.dcm")
        paths[-1].write_bytes(to_bytes(dataset))
    return paths
