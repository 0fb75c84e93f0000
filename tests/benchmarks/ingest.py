"""Instances per second that are acknowledged, one association of DCMTK's storescu: csf24 (synced) beside storescp."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from service.imaging.volume import Grid, Volume
from tests.builders.dcmtk import storescp, storescu
from tests.builders.dicom import classic_series, to_bytes
from tests.builders.programs import path_of
from tests.builders.service_process import ServiceProcess

COUNT, SIDE, RUNS = 200, 512, 3


def main() -> None:
    if path_of("storescu") is None:
        print("Ingest: not measured, DCMTK is not installed")
        return
    with TemporaryDirectory() as folder:
        root = Path(folder)
        rates: dict[str, list[float]] = {"csf24 serve": [], "DCMTK storescp (no sync)": []}
        with ServiceProcess(root) as service, storescp(root / "storescp") as port:
            for run in range(RUNS):
                files = _series(root / f"sent-{run}", run)
                for name, to, called in (("csf24 serve", service.port, "CSF24"), (list(rates)[1], port, "STORESCP")):
                    begin = time.perf_counter()
                    done = storescu(to, files, called=called)
                    rates[name].append(COUNT / (time.perf_counter() - begin))
                    assert done.status == 0, done.text
        print(f"Ingest, {COUNT} instances of {SIDE} x {SIDE} x 16 bit, one association, median of {RUNS}\n")
        for name, found in rates.items():
            print(f"{name:28} {median(found):8.0f} instances/s")
        ours, theirs = (median(found) for found in rates.values())
        print(f"{'ratio csf24 / storescp':28} {ours / theirs:8.2f}")


def _series(folder: Path, run: int) -> list[Path]:
    folder.mkdir()
    array = np.random.default_rng(run).integers(0, 4000, (COUNT, SIDE, SIDE)).astype(np.float32)
    volume = Volume(array, Grid.axis_aligned((COUNT, SIDE, SIDE), 0.5, (0, 0, 0)))
    paths = []
    for number, dataset in enumerate(classic_series(volume, patient_id=f"BENCH{run}", series=run + 1)):
        paths.append(folder / f"{number:04d}.dcm")
        paths[-1].write_bytes(to_bytes(dataset))
    return paths
