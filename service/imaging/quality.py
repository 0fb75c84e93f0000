"""What the acceptance checks share: a verdict, a report of them, a figure held against its limit, an aligned pair.

The checks themselves lie beside: of one series (`quality_scan`), of a pair (`quality_pair`), of what the tracer does
(`quality_tracer`), of the model's answer (`quality_prediction`). Nothing raises: the verdicts are data, and the
pipeline refuses a case with any rejection. A figure that cannot be computed (NaN) fails its check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.errors import Reason
from service.imaging.quality_limits import LIMITS
from service.imaging.recipe_types import Anatomy
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Mask, Volume

Action = Literal["REJECT", "WARN"]
SMALLEST_REGION = 200
"""Voxels of 8 mm3; nothing is measured in fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One verdict."""

    code: str
    passed: bool
    action: Action
    message: str
    measured: float | None
    limit: str

    def as_reason(self) -> Reason:
        """For reports and refusals."""
        return Reason(code=self.code, message=self.message, measured=self.measured, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """All verdicts of a case, in the order they were made."""

    checks: tuple[Check, ...]

    @property
    def rejections(self) -> tuple[Reason, ...]:
        """Why no prediction may leave; empty when all is well."""
        return tuple(c.as_reason() for c in self.checks if not c.passed and c.action == "REJECT")

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """What a reader should know."""
        return tuple(c.as_reason() for c in self.checks if not c.passed and c.action == "WARN")

    def __add__(self, other: QualityReport) -> QualityReport:
        return QualityReport(checks=self.checks + other.checks)


def judge(code: str, measured: float, series: str = "") -> Check:
    """Hold a figure against its entry in `LIMITS`; NaN fails. `series` (baseline, delayed) is named in the message."""
    limit = LIMITS[code]
    passed = bool(limit.lowest <= measured <= limit.highest)
    return Check(
        code=code,
        passed=passed,
        action=limit.action,
        message=f"{series.capitalize()}: {limit.message}" if series else limit.message,
        measured=None if np.isnan(measured) else round(float(measured), 4),
        limit=limit.text,
    )


def report(checks: Iterable[Check]) -> QualityReport:
    """In the order they were made."""
    return QualityReport(checks=tuple(checks))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedPair:
    """Both series on `Anatomy.grid` (baseline frame), each in its own units; 0 where a series does not reach.

    `covered`: where both do.
    """

    before: Float32
    after: Float32
    covered: Mask


def align(baseline: Volume, delayed: Volume, transform: RigidTransform, anatomy: Anatomy) -> AlignedPair:
    """What the checks of a pair look at. `transform` maps baseline -> delayed."""
    outside = float("-inf")  # no pixel has it
    before = resample(baseline, anatomy.grid, antialias=True, outside=outside).array
    after = resample(delayed, anatomy.grid, transform, antialias=True, outside=outside).array
    seen = np.isfinite(before), np.isfinite(after)
    return AlignedPair(
        before=np.where(seen[0], before, np.float32(0)),
        after=np.where(seen[1], after, np.float32(0)),
        covered=seen[0] & seen[1],
    )


Box = tuple[slice, slice, slice]


def around_brain(anatomy: Anatomy, margin_mm: float = 10.0) -> Box:
    """The part of `Anatomy.grid` that holds the brain and a margin; empty where there is no brain."""
    where = np.nonzero(anatomy.brain)
    if len(where[0]) == 0:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    steps = [int(np.ceil(margin_mm / s)) for s in reversed(anatomy.grid.spacing)]
    k, j, i = (slice(max(int(w.min()) - n, 0), int(w.max()) + n + 1) for w, n in zip(where, steps, strict=True))
    return k, j, i
