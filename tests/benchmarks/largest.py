"""Time and peak memory of one pair of the largest kind in use: 170 x 256 x 256 (1 mm), 368 x 512 x 512 (0.5 mm)."""

from __future__ import annotations

import resource
import time
from multiprocessing import get_context

import numpy as np

from service.config import Config
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from service.pipeline import VolumePair, convert
from service.wiring import load_model
from tests.builders.heads import Head, head_volume

MOVED = RigidTransform.from_euler((5.0, -4.0, 6.0), (4.0, -6.0, 5.0))


def main() -> None:
    context = get_context("spawn")  # a process of its own: its peak is this pair's
    with context.Pool(1) as pool:
        pool.apply(_convert)


def _convert() -> None:
    baseline, delayed = _pair()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor = load_model(Config())
    wall, processor = time.perf_counter(), time.process_time()
    outcome = convert(VolumePair(baseline=baseline, delayed=delayed), predictor, clock=time.perf_counter)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("One pair, baseline 170 x 256 x 256, delayed 368 x 512 x 512 (drawn head), from arrays to prediction\n")
    print(f"outcome {outcome.result.value} {[reason.code for reason in outcome.reasons]}")
    for stage, seconds in outcome.timings_s.items():
        print(f"{stage:16}{seconds:8.2f} s")
    print(f"{'all':16}{wall:8.2f} s wall, {processor:.2f} s CPU")
    volumes = (baseline.array.nbytes + delayed.array.nbytes) / 2**20
    print(f"peak memory {peak / 1024:.0f} MiB, of which {volumes:.0f} are the two volumes")
    print(f"making them had already taken {before / 1024:.0f}")


def _pair() -> tuple[Volume, Volume]:
    wide = Grid.axis_aligned((256, 256, 170), 1.0, (0.0, 0.0, -20.0))
    baseline = head_volume(Head(noise=0.02, seed=1), wide)
    shifted = Grid.axis_aligned((256, 256, 200), 1.0, (4.0, -6.0, -15.0))
    moved = head_volume(Head(tracer={"basal": 0.2}, gain=1500.0), shifted, MOVED)
    fine = Grid.axis_aligned((512, 512, 368), 0.5, (4.0, -6.0, -15.0))
    delayed = resample(moved, fine)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(fine.shape, dtype=np.float32) * np.float32(30)
    return baseline, delayed.with_array(np.abs(delayed.array + noise))
