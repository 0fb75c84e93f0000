"""Seconds per stage of a conversion, median of three, for the shipped patient and for a 256 x 256 x 170 pair."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from service.config import Config
from service.imaging.volume import Grid, Volume
from service.received_pair import DicomPair
from service.wiring import make_converter
from tests.builders.dicom import classic_series, to_bytes
from tests.builders.heads import Head, head_volume
from tests.builders.patients import BASELINE_AT, DELAYED_AT, INJECTED_AT, MOVED, unpack_shipped

RUNS = 3


def main() -> None:
    converter = make_converter(Config())
    columns: dict[str, dict[str, float]] = {}
    for name, (baseline, delayed) in {"shipped patient": _shipped(), "256 x 256 x 170": _large()}.items():
        pair = DicomPair(
            case_id="c000000000000",
            baseline=baseline,
            delayed=delayed,
            injection_time=INJECTED_AT,
            derived_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        reports = [converter.convert_dicom(pair) for _ in range(RUNS)]
        assert not reports[0].reasons, reports[0].reasons
        stages = reports[0].report["timings_s"]
        columns[name] = {s: median(r.report["timings_s"][s] for r in reports) for s in stages}
    print(f"Seconds per stage, median of {RUNS}, volume3d on the CPU\n")
    print(f"{'stage':16}" + "".join(f"{name:>18}" for name in columns))
    for stage in next(iter(columns.values())):
        print(f"{stage:16}" + "".join(f"{column[stage]:18.2f}" for column in columns.values()))


def _shipped() -> tuple[list[bytes], list[bytes]]:
    with TemporaryDirectory() as folder:
        baseline, delayed = unpack_shipped(Path(folder))
        return [p.read_bytes() for p in baseline], [p.read_bytes() for p in delayed]


def _large() -> tuple[list[bytes], list[bytes]]:
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = (0, 1, 0), (0, 0, -1), (1.06, 0, 0)
    affine[:3, 3] = (-89.6, -127.5, 107.5)
    grid = Grid((170, 256, 256), affine)
    before = head_volume(Head(noise=0.02, seed=1), grid)
    after = head_volume(Head(noise=0.02, seed=2, tracer={"basal": 0.2}, gain=1500.0), grid, MOVED)
    return (
        _files(before, series=1, acquired_at=BASELINE_AT),
        _files(after, series=2, acquired_at=DELAYED_AT, injected_at=INJECTED_AT),
    )


def _files(volume: Volume, **options: object) -> list[bytes]:
    return [to_bytes(d) for d in classic_series(volume.with_array(volume.array.round()), **options)]
