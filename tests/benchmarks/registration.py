"""Rigid registration beside SimpleITK, greedy and ANTs: error over the brain, and seconds.

The peers run in an environment of their own (``make bench`` makes it; `peers.py` says why). They are slow, so they
get only the first of the trials: ``CSF24_TRIALS`` (50) and ``CSF24_PEER_TRIALS`` (3) set how many. ``CSF24_HEADS``
picks heads by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from service.errors import InputRefused
from service.imaging.recipe_types import Registration
from service.imaging.registration import register
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float64, Volume
from tests.builders.real_head import FOLDER, load_real_head
from tests.builders.second_scan import (
    Subject,
    drawn_conditions,
    drawn_subject,
    first_scan,
    real_subject,
    second_scan,
)
from training.simulate.templates import read_nifti

PEERS = {"SimpleITK": "SimpleITK", "greedy": "picsl_greedy", "ANTs": "ants"}
COLIN27 = Path("/usr/share/mricron/templates/ch2.nii.gz")
LOST_MM = 5.0
TRIALS = int(os.environ.get("CSF24_TRIALS", "50"))
PEER_TRIALS = int(os.environ.get("CSF24_PEER_TRIALS", "3"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Two scans of a subject, `truth` between them (first -> second)."""

    subject: Subject
    first: Volume
    second: Volume
    truth: RigidTransform

    def errors(self, matrix: Float64) -> Float64:
        mapped = self.subject.brain @ matrix[:3, :3].T + matrix[:3, 3]
        return np.asarray(np.linalg.norm(mapped - self.truth.map(self.subject.brain), axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One trial of one method: distances (mm) of the brain's points from where they belong, and seconds."""

    errors: Float64
    wall: float
    cpu: float


INTRO = f"""\
Registration: {TRIALS} trials a head for csf24, the first {PEER_TRIALS} of them for the others.
Each up to 20 degrees and 30 mm off on every axis, with gain 0.6-1.6, shading up to 30 %, Rician noise 2-6 %, a neck
nodding by up to 12 degrees, tracer in the basal fluid (0.2-1.2 of the brain's signal), in two thirds of the trials in
all fluid (0.3 or 1.0), and in half of them 10-20 mm of the head cut off at one side.
mean, worst: mm over the brain's points, all trials. lost: trials more than 5 mm off. s: medians; csf24's time includes
its second start and the swapped registration, from which the checks judge. x: against csf24 on the same trials (mean
error, processor time).
"""


def main() -> None:
    print(INTRO)
    print(f"{'head':12}{'method':11}{'trials':>7}{'mean':>8}{'worst':>8}{'lost':>6}{'wall s':>8}{'cpu s':>8}", end="")
    print(f"{'x error':>9}{'x time':>8}")
    interpreters = {peer: _interpreter(module) for peer, module in PEERS.items()}
    firsts = {}
    for name, make in subjects().items():
        subject = make()
        firsts[name] = first_scan(subject)
        _compare(name, subject, firsts[name], interpreters)
    print()
    _different_heads(firsts)


def subjects() -> dict[str, Callable[[], Subject]]:
    """The heads on this machine, or those of them that ``CSF24_HEADS`` names."""
    found: dict[str, Callable[[], Subject]] = {"procedural": drawn_subject}
    if FOLDER.is_dir():
        found["real"] = lambda: real_subject(load_real_head())
    if COLIN27.exists():
        found["Colin27"] = lambda: real_subject(read_nifti(COLIN27))
    wanted = os.environ.get("CSF24_HEADS")
    return {name: make for name, make in found.items() if not wanted or name in wanted.split(",")}


def _compare(head: str, subject: Subject, first: Volume, interpreters: dict[str, Path | None]) -> None:
    own: list[Result] = []
    figures: list[Registration] = []
    theirs: dict[str, list[Result]] = {peer: [] for peer in PEERS}
    for number in range(TRIALS):
        conditions = drawn_conditions(subject.centre, number)
        trial = Trial(subject=subject, first=first, second=second_scan(subject, conditions), truth=conditions.pose)
        wall, cpu = time.perf_counter(), time.process_time()
        found = register(first, trial.second, centre=subject.centre)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        figures.append(found)
        own.append(Result(errors=trial.errors(found.transform.matrix), wall=wall, cpu=cpu))
        for peer, interpreter in interpreters.items():
            if interpreter and number < PEER_TRIALS:
                theirs[peer] += _peer(interpreter, peer, trial)
    _row(head, "csf24", own, own)
    for peer, results in theirs.items():
        if results:
            _row(head, peer, results, own[: len(results)])
        else:
            print(f"{head:12}{peer:11}  {'no trial' if interpreters[peer] else 'not installed'}", flush=True)
    apart = max(f.inverse_consistency_mm for f in figures), max(f.two_start_mm for f in figures)
    print(f"{'':12}csf24: both directions at most {apart[0]:.2f} mm apart, two starts {apart[1]:.2f} mm;", end=" ")
    print(f"{_peak_mb(trial):.0f} MB at most beside its input")


def _row(head: str, method: str, results: list[Result], own: list[Result]) -> None:
    errors = np.concatenate([r.errors for r in results])
    lost = sum(r.errors.mean() > LOST_MM for r in results)
    wall, cpu = median(r.wall for r in results), median(r.cpu for r in results)
    row = f"{head:12}{method:11}{len(results):7}{errors.mean():8.3f}{errors.max():8.3f}{lost:6}{wall:8.1f}{cpu:8.1f}"
    if results is not own:
        mean = np.concatenate([r.errors for r in own]).mean()
        row += f"{errors.mean() / mean:9.1f}{cpu / median(r.cpu for r in own):8.1f}"
    print(row, flush=True)


def _peak_mb(trial: Trial) -> float:
    tracemalloc.start()
    register(trial.first, trial.second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def _different_heads(firsts: dict[str, Volume]) -> None:
    """What the figures say when the two series show two people."""
    print(f"{'two heads':25}{'directions mm':>14}{'starts mm':>11}{'similarity':>12}")
    for one, other in permutations(firsts, 2):
        try:
            found = register(firsts[one], firsts[other])
        except InputRefused as refused:
            print(f"{one + ', ' + other:25}  refused: {refused.reasons[0].code}")
            continue
        print(
            f"{one + ', ' + other:25}{found.inverse_consistency_mm:14.1f}{found.two_start_mm:11.1f}"
            f"{found.similarity_after:12.3f}",
            flush=True,
        )


def _interpreter(module: str) -> Path | None:
    """A Python that has `module`: that of the peers' environment, or this one."""
    for python in (Path(sys.prefix) / "peers" / "bin" / "python", Path(sys.executable)):
        if python.exists():
            ran = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
            if ran.returncode == 0:
                return python
    return None


def _peer(interpreter: Path, peer: str, trial: Trial) -> list[Result]:
    """The peer's result; none, and a line that says so, where it broke down."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("fixed.npz", "moving.npz")]
        for path, volume in zip(paths, (trial.first, trial.second), strict=True):
            np.savez(path, array=volume.array, affine=volume.grid.affine)
        script = Path(__file__).with_name("peers.py")
        ran = subprocess.run([interpreter, script, peer, *paths], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(f"{peer} failed: {ran.stderr.strip()[-200:]}")
        return []
    answer = json.loads(ran.stdout.strip().splitlines()[-1])
    return [Result(errors=trial.errors(np.array(answer["matrix"])), wall=answer["wall"], cpu=answer["cpu"])]
