"""Conformal calibration of a model's interval on the validation patients, and how well it covers the test patients.

For each bound and patient: by how much must it move so that the promised share of the patient's voxels lies on its
inner side? Of these numbers the k-th smallest is taken, k = ceil((n + 1)(1 - risk)) of n patients: a further patient,
exchangeable with them, needs no more with probability k / (n + 1) at least (Vovk 2005; Romano et al. 2019 for
quantiles). Voxels of one patient are no independent draws, so the patient is the unit. The validation patients also
chose the best epoch, which makes the figures slightly too good.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from service.errors import UsageError
from service.imaging.volume import Float32, Float64
from service.inference.calibration import Calibration, calibrated, calibration_from
from training.evaluate import run
from training.examples import Example
from training.settings import TrainingRecipe

RISK = 0.1
"""Share of patients in whom a bound may fail."""
FILE = "calibration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """What so few patients cost.

    Attributes
    ----------
    rank
        k of the docstring above; `patients` at most.
    guaranteed
        ``rank / (patients + 1)``: what is promised of a further patient, for one bound.
    both
        The same for the two bounds together, at least.
    fewest
        Patients from which on the asked risk can be promised.
    """

    patients: int
    rank: int
    guaranteed: float
    both: float
    fewest: int

    @property
    def text(self) -> str:
        """In words."""
        asked = 1 - RISK
        lines = (
            f"{self.patients} patients: the {self.rank}-th smallest offset is taken, which promises "
            f"{self.guaranteed:.1%} of further patients for each bound (asked {asked:.0%}) and {self.both:.1%} for both"
        )
        if self.guaranteed < asked:
            return f"{lines}; {self.fewest} patients would be needed for {asked:.0%}"
        return f"{lines}; slack {self.guaranteed - asked:.1%}"


def slack(patients: int, risk: float = RISK) -> Slack:
    """Of split conformal calibration on so many patients."""
    rank = min(math.ceil((patients + 1) * (1 - risk) - 1e-9), patients)
    guaranteed = rank / (patients + 1)
    return Slack(
        patients=patients,
        rank=rank,
        guaranteed=guaranteed,
        both=max(0.0, 2 * guaranteed - 1),
        fewest=math.ceil(1 / risk - 1e-9) - 1,
    )


def calibrate(
    network: nn.Module, recipe: TrainingRecipe, validation: Sequence[Example], *, simulated: bool
) -> tuple[Calibration, Slack]:
    """Offsets for the bounds of a volume model.

    Raises
    ------
    UsageError
        The model has no interval, or there is no patient.
    """
    levels = recipe.preprocessing.quantiles
    if len(levels) < 2 or not validation:
        raise UsageError("only models with an interval can be calibrated, and only on validation patients")
    needed: list[list[float]] = [[] for _ in levels[1:]]
    for example in validation:
        answer = run(network, example)
        truth = example.target[0][example.inside[0]]
        for n, level in enumerate(levels[1:]):
            bound = answer[n + 1][example.inside[0]]
            needed[n].append(offset_needed(bound, truth, level))
    found = slack(len(validation))
    offsets = [_ranked(n, found.rank, level) for n, level in zip(needed, levels[1:], strict=True)]
    share = max(max(level, 1 - level) for level in levels[1:])
    calibration = Calibration(
        offsets=(0.0, *offsets),
        coverage=share,
        patients=len(validation),
        guaranteed=found.guaranteed,
        simulated=simulated,
    )
    return calibration, found


def offset_needed(bound: Float32, truth: Float32, level: float) -> float:
    """What must be added to the `bound` of a patient so that a share `level` of the `truth` lies below it."""
    return float(np.quantile((truth - bound).astype(np.float64), level))


def _ranked(offsets: Sequence[float], rank: int, level: float) -> float:
    """The k-th least generous: an upper bound moves up, a lower one down."""
    ordered = sorted(offsets, reverse=level < 0.5)
    return ordered[rank - 1]


def coverage(answer: Float32, example: Example, calibration: Calibration | None) -> dict[str, float]:
    """Share of the voxels within the interval, by region, and the interval's mean width in brain and fluid."""
    moved = calibrated(answer[None], calibration)[0]
    low, high = moved[1:].min(axis=0), moved[1:].max(axis=0)
    within = (low <= example.target[0]) & (example.target[0] <= high)
    regions = {"brain + CSF": example.inside[0], "CSF": example.csf[0]}
    if example.ventricles is not None:
        regions["ventricles"] = example.ventricles[0]
    found = {name: float(within[mask].mean()) if mask.any() else float("nan") for name, mask in regions.items()}
    return found | {"width": float((high - low)[example.inside[0]].mean())}


def coverage_table(
    network: nn.Module, test: Sequence[Example], calibration: Calibration
) -> dict[str, dict[str, Float64]]:
    """``before`` and ``after``: of every test patient, each of `coverage`'s figures."""
    answers = [run(network, example) for example in test]
    found = {}
    for name, used in (("before", None), ("after", calibration)):
        each = [coverage(answer, example, used) for answer, example in zip(answers, test, strict=True)]
        found[name] = {region: np.array([one[region] for one in each]) for region in each[0]}
    return found


def write_calibration(calibration: Calibration, run_folder: Path) -> None:
    """Beside the run's weights, where `export` looks for it."""
    (run_folder / FILE).write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def read_calibration(run_folder: Path) -> Calibration | None:
    """Of a run; None when it was not calibrated."""
    path = run_folder / FILE
    if not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return calibration_from(document, len(document["offsets"]))
