"""The quality gate on sound pairs and on every fault: what is refused, by which code, and what slips through.

Simulated faults on real and drawn heads; each head is in the tuning half, on which limits were set, or held out.
``CSF24_EXTRA_HEADS`` names a folder of further ``.nii.gz`` heads, ``CSF24_GATE_FAULTS`` picks faults and
``CSF24_GATE_HEADS`` heads by their names' beginnings, ``CSF24_GATE_VALUES=1`` prints every figure's range.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging import examination
from service.imaging.anatomy import find_anatomy
from service.imaging.examination import Examination, examine
from service.imaging.head_mask import dilate
from service.imaging.recipe_types import Anatomy, Registration
from service.imaging.registration import register
from service.imaging.resampling import resample
from service.imaging.volume import Grid, Volume
from tests.builders import faults
from tests.builders.gate_subjects import Candidate, candidates, usual_conditions
from tests.builders.second_scan import Conditions, Subject, first_scan, second_scan

REPEATS = 2
"""Sound pairs a head; the faults are made from the first."""


@dataclass(eq=False)
class Case:
    """A sound pair and what was found about it, for the faults that change neither."""

    candidate: Candidate
    subject: Subject
    conditions: Conditions
    baseline: Volume
    delayed: Volume
    other: Case | None = None

    @cached_property
    def anatomy(self) -> Anatomy:
        return find_anatomy(self.baseline)

    @cached_property
    def registration(self) -> Registration:
        return register(self.baseline, self.delayed, centre=self.anatomy.brain_centre)

    def again(self, **changes: float) -> Volume:
        """The second scan under other conditions."""
        return second_scan(self.subject, replace(self.conditions, **changes), _field_of_view(self.subject))

    @property
    def brain_later(self) -> float:
        """Median brain signal of the delayed series."""
        return self.subject.brain_signal * self.conditions.gain


def _field_of_view(subject: Subject) -> Grid:
    """Smaller than `second_scan`'s own, for speed."""
    return Grid.axis_aligned((168, 168, 128), 1.5, subject.centre - [0.0, 0.0, 14.0])


Pair = tuple[Volume, Volume]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a sound pair is spoilt.

    Attributes
    ----------
    still
        Neither head has moved, so that the sound pair's registration holds.
    alternates
        Tried on every second head, for speed.
    """

    name: str
    make: Callable[[Case], Pair]
    still: bool = True
    alternates: bool = False


def _other(case: Case) -> Pair:
    assert case.other is not None
    return case.baseline, case.other.delayed


def _intravenous(case: Case) -> Volume:
    """Sinuses, vessels at the base and nasal mucosa bright, muscle a little, fluid not."""
    grid = case.anatomy.grid
    image = resample(case.subject.scan, grid, antialias=True).array / case.subject.brain_signal
    brain = case.anatomy.brain
    k, j, i = np.indices(grid.shape)
    x, y, z = (grid.to_world(np.stack([i, j, k], -1).reshape(-1, 3)) - case.anatomy.brain_centre).T.reshape(
        3, *grid.shape
    )
    rim = dilate(brain, 5.0, grid) & ~brain
    sinus = rim & (np.abs(x) < 5) & ((z > 0) | (y > 30))
    transverse = rim & (np.abs(z + 30) < 5) & (y > 30)
    mucosa = (np.abs(x) < 18) & (y < -45) & (z < -35) & (image > 0.3) & (image < 1.3)
    vessels = (
        brain & (np.hypot(x, y + 5) < 22) & (np.abs(z + 22) < 6) & (np.random.default_rng(1).random(grid.shape) < 0.1)
    )
    muscle = ~dilate(brain, 8.0, grid) & case.anatomy.head & (image > 0.6) & (image < 1.2)
    added = 0.9 * (sinus | transverse | vessels) + 0.5 * mucosa + 0.15 * muscle
    scan = case.subject.scan
    rise = resample(Volume(added.astype(np.float32), grid), scan.grid).array * np.float32(case.subject.brain_signal)
    changed = replace(case.subject, scan=scan.with_array(scan.array + rise))
    return second_scan(changed, replace(case.conditions, basal=0.0), _field_of_view(changed))


def _lifted(case: Case, share: float) -> Volume:
    """The baseline, all its fluid brighter by `share` of the brain signal."""
    scan, fluid = case.subject.scan, case.subject.everywhere.array
    changed = replace(
        case.subject, scan=scan.with_array(scan.array + np.float32(share * case.subject.brain_signal) * fluid)
    )
    return first_scan(changed)


def _both(case: Case, scale: tuple[tuple[float, ...], tuple[float, ...]]) -> Pair:
    return (
        faults.contrast(case.baseline, case.subject.brain_signal, scale),
        faults.contrast(case.delayed, case.brain_later, scale),
    )


def _on_baseline(make: Callable[[Volume, Case, float], Volume]) -> Callable[[Case], Pair]:
    return lambda case: (make(case.baseline, case, case.subject.brain_signal), case.delayed)


def _on_delayed(make: Callable[[Volume, Case, float], Volume]) -> Callable[[Case], Pair]:
    return lambda case: (case.baseline, make(case.delayed, case, case.brain_later))


def _scan_faults() -> list[Fault]:
    made: dict[str, tuple[Callable[[Volume, Case, float], Volume], bool]] = {
        "noise 20 %": (lambda v, c, s: faults.noisy(v, 0.2 * s), True),
        "motion 4 deg, 4 mm": (lambda v, c, s: faults.moved_meanwhile(v, c.subject.centre, degrees=4, mm=4), False),
        "ghosts 20 %": (lambda v, c, s: faults.ghosted(v, 0.2), True),
        "blur 2 mm": (lambda v, c, s: faults.blurred(v, 2.0), True),
        "spike 25 %": (lambda v, c, s: faults.spiked(v, 0.25 * s), True),
        "clipped at 1.3": (lambda v, c, s: faults.clipped(v, 1.3 * s), True),
        "nose folded over": (lambda v, c, s: faults.folded(_upright(v), 1, 40, from_end=False), True),
        "slice lost": (lambda v, c, s: _spoilt(v, lost=True), True),
        "slices exchanged": (lambda v, c, s: _spoilt(v, lost=False), True),
        "upper part 4 mm aside": (lambda v, c, s: _aside(_upright(v), c, 4.0), True),
        "neck folded over": (lambda v, c, s: faults.folded(_upright(v), 0, 40, from_end=False), True),
        "vertex cut 15 mm": (lambda v, c, s: _cut(_upright(v), c, above=True), True),
        "base cut": (lambda v, c, s: _cut(_upright(v), c, above=False), True),
    }
    found = []
    for name, (make, still) in made.items():
        found.append(Fault(name=f"baseline: {name}", make=_on_baseline(make), still=still, alternates=True))
        found.append(Fault(name=f"delayed: {name}", make=_on_delayed(make), still=still, alternates=True))
    return found


def _spoilt(volume: Volume, *, lost: bool) -> Volume:
    """One slice near the middle black, or exchanged with one a tenth of the head away."""
    array, middle = volume.array.copy(), volume.grid.shape[0] // 2
    other = middle + volume.grid.shape[0] // 10
    if lost:
        array[middle] = 0
    else:
        array[[middle, other]] = array[[other, middle]]
    return volume.with_array(array)


def _aside(volume: Volume, case: Case, mm: float) -> Volume:
    """All above the brain's centre so far to the left of where it was."""
    array = volume.array.copy()
    middle = round(float(volume.grid.to_index(case.subject.centre[None])[0][2]))
    array[middle:] = np.roll(array[middle:], round(mm / volume.grid.spacing[0]), axis=2)
    return volume.with_array(array)


def _upright(volume: Volume) -> Volume:
    """On axes of the patient's, whatever the scanner's."""
    spacing = max(1.0, *volume.grid.spacing)
    corners = volume.grid.to_world(
        [
            [i, j, k]
            for i in (0, volume.grid.shape[2] - 1)
            for j in (0, volume.grid.shape[1] - 1)
            for k in (0, volume.grid.shape[0] - 1)
        ]
    )
    size = np.ceil((corners.max(0) - corners.min(0)) / spacing).astype(int) + 1
    grid = volume.grid.axis_aligned(
        (int(size[2]), int(size[1]), int(size[0])), spacing, (corners.max(0) + corners.min(0)) / 2
    )
    return resample(volume, grid)


def _cut(volume: Volume, case: Case, *, above: bool) -> Volume:
    """15 mm of the brain at the vertex, or all that lies 45 mm under its centre."""
    heights = volume.grid.to_world([[0, 0, k] for k in range(volume.grid.shape[0])])[:, 2] - case.subject.centre[2]
    top = case.subject.brain[:, 2].max() - case.subject.centre[2] - 15
    kept = np.flatnonzero(heights < top) if above else np.flatnonzero(heights > -45)
    _, nj, ni = volume.grid.shape
    return volume.part((0, 0, int(kept[0])), (ni, nj, int(kept[-1]) + 1))


def _unlike(make: Callable[[Volume, float], Volume]) -> Callable[[Case], Pair]:
    return lambda c: (make(c.baseline, c.subject.brain_signal), make(c.delayed, c.brain_later))


FAULTS = [
    Fault(name="another head", make=_other, still=False),
    Fault(name="mirrored", make=lambda c: (c.baseline, faults.mirrored(c.delayed, 2)), still=False),
    Fault(name="same series twice", make=lambda c: (c.baseline, c.baseline), still=False),
    Fault(
        name="same series twice, rescaled",
        make=lambda c: (c.baseline, c.baseline.with_array(np.rint(c.baseline.array * 1.7))),
        still=False,
    ),
    Fault(name="swapped", make=lambda c: (c.delayed, c.baseline), still=False),
    Fault(name="baseline enhanced 0.25", make=lambda c: (_lifted(c, 0.25), c.again(everywhere=0.25))),
    Fault(name="baseline enhanced 0.6", make=lambda c: (_lifted(c, 0.6), c.again(everywhere=0.6))),
    Fault(name="no tracer", make=lambda c: (c.baseline, c.again(basal=0.0))),
    Fault(name="no tracer, shaded", make=lambda c: (c.baseline, c.again(basal=0.0, bias=0.15))),
    Fault(name="excess tracer", make=lambda c: (c.baseline, c.again(basal=3.5))),
    Fault(name="intravenous", make=lambda c: (c.baseline, _intravenous(c))),
    Fault(name="T2", alternates=True, make=lambda c: _both(c, faults.T2)),
    Fault(name="FLAIR", alternates=True, make=lambda c: _both(c, faults.FLAIR)),
    Fault(name="proton density", alternates=True, make=lambda c: _both(c, faults.PROTON_DENSITY)),
    Fault(
        name="delayed FLAIR",
        alternates=True,
        make=lambda c: (c.baseline, faults.contrast(c.delayed, c.brain_later, faults.FLAIR)),
    ),
    Fault(
        name="delayed T2",
        alternates=True,
        make=lambda c: (c.baseline, faults.contrast(c.delayed, c.brain_later, faults.T2)),
    ),
    Fault(name="inverted", alternates=True, make=_unlike(lambda v, s: faults.inverted(v))),
    Fault(
        name="label map",
        alternates=True,
        make=_unlike(lambda v, s: v.with_array(np.rint(np.clip(v.array / s, 0, 3) * 4))),
    ),
    Fault(name="phantom", alternates=True, make=_unlike(lambda v, s: faults.sphere(v.grid, s)), still=False),
    Fault(name="thighs", alternates=True, make=_unlike(lambda v, s: faults.thighs(v.grid, s)), still=False),
    Fault(name="thick slices", alternates=True, make=_unlike(lambda v, s: faults.thick_slices(v, 5.0))),
    *_scan_faults(),
]


@dataclass
class Tally:
    """Of one fault in one half: outcomes and first codes."""

    refused: int = 0
    passed: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def number(self) -> int:
        return self.refused + len(self.passed)


@dataclass
class Results:
    """What came out so far: by fault and half; every figure by code and fault; processor seconds of sound pairs."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    values: dict[tuple[str, str], list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)

    def keep(self, name: str, case: Case, course: Examination, reasons: tuple[Reason, ...]) -> None:
        tally = self.tallies[name, case.candidate.half]
        if reasons:
            tally.refused += 1
            tally.codes.update(reason.code for reason in reasons)
        else:
            tally.passed.append(case.candidate.name)
            if name == "sound":
                self.seconds.append(course.timings_s["checks"])
        tally.codes.update(f"({reason.code})" for reason in course.checks.warnings)
        for check in course.checks.checks:
            if check.measured is not None:
                self.values[check.code, name].append((check.measured, case.candidate.name))
        if os.environ.get("CSF24_GATE_VERBOSE"):
            found = ", ".join(f"{reason.code} {reason.measured}" for reason in reasons)
            print(f"  {case.candidate.name:16} {name:28} {found or 'passed'}", flush=True)


def main() -> None:
    begin = time.process_time()
    print(__doc__.split("\n\n")[1].replace("\n", " ") + "\n" if __doc__ else "")
    extra = os.environ.get("CSF24_EXTRA_HEADS")
    wanted = tuple(filter(None, os.environ.get("CSF24_GATE_FAULTS", "").split(",")))
    results = Results()
    previous: Case | None = None
    heads = tuple(filter(None, os.environ.get("CSF24_GATE_HEADS", "").split(",")))
    for number, candidate in enumerate(candidates(Path(extra) if extra else None)):
        if heads and not candidate.name.startswith(heads):
            continue
        try:
            cases = _sound(candidate, number)
        except (InputRefused, ValueError) as why:
            print(f"{candidate.name}: no subject can be made of it: {why}")
            continue
        cases[0].other = previous
        for case in cases:
            _try("sound", case, (case.baseline, case.delayed), True, results)
        for place, fault in enumerate(FAULTS):
            if (wanted and not fault.name.startswith(wanted)) or (fault.make is _other and previous is None):
                continue
            if fault.alternates and (place + number) % 2:
                continue
            _try(fault.name, cases[0], fault.make(cases[0]), fault.still, results)
        cases[0].other = None
        previous = cases[0]
    _print(results.tallies)
    if os.environ.get("CSF24_GATE_VALUES"):
        _print_values(results.values)
    spent = time.process_time() - begin
    print(f"\nchecks of a sound pair: {np.median(results.seconds):.2f} s of processor time; all of this: {spent:.0f} s")


def _sound(candidate: Candidate, number: int) -> list[Case]:
    subject = candidate.make()
    baseline = first_scan(subject, noise=0.025)
    found = []
    for repeat in range(REPEATS):
        conditions = usual_conditions(subject, 100 * number + repeat)
        case = Case(
            candidate=candidate,
            subject=subject,
            conditions=conditions,
            baseline=baseline,
            delayed=second_scan(subject, conditions, _field_of_view(subject)),
        )
        if found:
            case.anatomy = found[0].anatomy
        found.append(case)
    return found


def _try(name: str, case: Case, pair: Pair, still: bool, results: Results) -> None:
    baseline, delayed = pair

    def anatomy_of(volume: Volume) -> Anatomy:
        return case.anatomy if volume is case.baseline else find_anatomy(volume)

    def registration_of(fixed: Volume, moving: Volume, *, centre: np.ndarray) -> Registration:
        return case.registration if still else register(fixed, moving, centre=centre)

    with patch.object(examination, "find_anatomy", anatomy_of), patch.object(examination, "register", registration_of):
        course, reasons = Examination(clock=time.process_time), ()
        try:
            examine(baseline, delayed, course)
        except InputRefused as refusal:
            reasons = refusal.reasons
    results.keep(name, case, course, reasons)


def _print(tallies: dict[tuple[str, str], Tally]) -> None:
    print(f"{'':34}{'tuning':>26}{'held out':>28}   codes of the refusals, (warnings)")
    for name in dict.fromkeys(name for name, _ in tallies):
        cells, codes, slipped = [], Counter[str](), []
        for half in ("tuning", "held out"):
            tally = tallies.get((name, half), Tally())
            low, high = wilson(tally.refused, tally.number)
            cells.append(f"{tally.refused:3} of {tally.number:2} {100 * low:4.0f}-{100 * high:.0f} %")
            codes.update(tally.codes)
            slipped += tally.passed
        wrong = "" if name == "sound" or not slipped else f"  passed: {', '.join(slipped)}"
        print(
            f"{name:34}{cells[0]:>26}{cells[1]:>28}   {', '.join(f'{c} {n}' for c, n in codes.most_common(4))}{wrong}"
        )
    sound = [t for (name, _), t in tallies.items() if name == "sound"]
    spoilt = [t for (name, _), t in tallies.items() if name != "sound"]
    for what, hits, of in (
        ("sound pairs refused", sum(t.refused for t in sound), sum(t.number for t in sound)),
        ("faults accepted", sum(len(t.passed) for t in spoilt), sum(t.number for t in spoilt)),
    ):
        low, high = wilson(hits, of)
        print(f"{what}: {hits} of {of} ({100 * low:.1f}-{100 * high:.1f} %)")


def _print_values(values: dict[tuple[str, str], list[tuple[float, str]]]) -> None:
    for (code, name), found in sorted(values.items()):
        (low, lowest), (high, highest) = min(found), max(found)
        middle = float(np.median([v for v, _ in found]))
        row = f"{code:28} {name:30} {len(found):3} {low:10.4f} ({lowest}) .. {middle:.4f}"
        print(f"{row} .. {high:10.4f} ({highest})")


def wilson(hits: int, number: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if number == 0:
        return 0.0, 1.0
    z, p = 1.96, hits / number
    middle, half = p + z * z / (2 * number), z * np.sqrt(p * (1 - p) / number + z * z / (4 * number**2))
    return float((middle - half) / (1 + z * z / number)), float((middle + half) / (1 + z * z / number))
