"""The heads on which the quality gate is tried: real ones and drawn ones; each in one half, never in both.

Limits were set with a look at the tuning half only. Of extra heads single scans were looked at, for noise, spikes, air
and edges; their pairs were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders.real_head import FOLDER, load_real_head
from tests.builders.second_scan import Conditions, Subject, real_subject
from training.simulate.cohort import scanner_grid
from training.simulate.heads import draw_shape, make_head
from training.simulate.signal import Visit, draw_protocol, relaxation_maps, scan
from training.simulate.templates import read_nifti
from training.simulate.tissues import BRAIN, FLUID

COLIN27 = Path("/usr/share/mricron/templates/ch2.nii.gz")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A head that can be made."""

    name: str
    half: str
    make: Callable[[], Subject]


def candidates(extra: Path | None = None) -> Iterator[Candidate]:
    """All heads on this machine, those of the folder `extra` among them."""
    if COLIN27.exists():
        yield Candidate(name="Colin27", half="tuning", make=lambda: real_subject(read_nifti(COLIN27)))
    if FOLDER.is_dir():
        yield Candidate(name="Philips", half="tuning", make=lambda: real_subject(load_real_head()))
    for seed in (1, 2, 3):
        half = "tuning" if seed == 1 else "held out"
        yield Candidate(name=f"simulated {seed}", half=half, make=lambda seed=seed: simulated_subject(seed))
    for path in sorted(extra.glob("*.nii.gz")) if extra else ():
        yield Candidate(
            name=path.name.removesuffix(".nii.gz"),
            half="held out",
            make=lambda path=path: real_subject(read_nifti(path)),
        )


def simulated_subject(seed: int) -> Subject:
    """One of the training simulator's heads: labels, tissue values and protocol drawn; noise-free."""
    rng = np.random.default_rng([3, seed])
    head = make_head(draw_shape(rng), rng)
    maps, protocol = relaxation_maps(head, rng), draw_protocol(rng)
    grid = scanner_grid(1.0, head.grid.centre)
    still = Visit(pose=RigidTransform.identity(), gain=1000.0, bias_strength=0.0, snr=1e5)
    coil = np.ones(grid.shape, dtype=np.float32)
    none = np.zeros(head.labels.shape, np.float32)
    plain = scan(head, maps, none, protocol, still, grid=grid, coil=coil, rng=rng).acquired
    tissue = np.isin(head.labels, BRAIN)
    points = head.grid.to_world(np.argwhere(tissue)[::40, ::-1])
    fluid = np.isin(head.labels, FLUID)
    height = head.grid.origin[2] + head.grid.spacing[2] * np.arange(head.grid.shape[0]) - points[:, 2].mean()
    low = fluid & (height < -8)[:, None, None]
    lowest = fluid & (height < -40)[:, None, None]
    early, basal, everywhere = (resample(Volume(m.astype(np.float32), head.grid), grid) for m in (lowest, low, fluid))
    signal = float(np.median(resample(plain, head.grid).array[tissue]))
    return Subject(scan=plain, early=early, basal=basal, everywhere=everywhere, brain=points, brain_signal=signal)


def usual_conditions(subject: Subject, seed: int) -> Conditions:
    """A sound second scan: up to 6 degrees and 8 mm, gain, a little shading, noise, tracer.

    0.04-0.15 mM in all basal fluid or, every second time, twice that around the lower brain stem alone.
    """
    rng = np.random.default_rng([7, seed])
    pose = RigidTransform.from_euler(rng.uniform(-6, 6, 3).tolist(), rng.uniform(-8, 8, 3).tolist(), subject.centre)
    tracer = float(rng.uniform(0.22, 0.7))
    return Conditions(
        pose=pose,
        early=2 * tracer if seed % 2 else 0.0,
        basal=0.0 if seed % 2 else tracer,
        gain=float(rng.uniform(0.6, 1.6)),
        bias=float(rng.uniform(0.0, 0.15)),
        noise=float(rng.uniform(0.02, 0.045)),
        neck_deg=float(rng.uniform(-5, 5)),
        seed=seed,
    )
