"""What stands on the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.pictures.preview import SectionRow

Facts = tuple[tuple[str, str], ...]
"""Names with their values, in reading order."""
Verdict = Literal["pass", "warn", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """One check: what it measures in words, the figure, the limit it was held against."""

    name: str
    measured: str
    limit: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningLine:
    """What a reader should know: a code, and a sentence with its figures."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageContents:
    """All that the page says; the same contents give the same bytes.

    Attributes
    ----------
    title, cautions
        What the images are not, above everything else.
    patient, times
        Shown beside each other; the first fact of `patient`, the name, has a line of its own.
    rows
        Sections from top to bottom; every row has the two acquired panels, at least one has the predicted ones.
    increase_scale
        What the top of the scale of increase stands for, e.g. ``"0.8 x fat"``.
    warnings
        All of them.
    checks
        All of them, those first that must be seen first; what does not fit is counted on the page.
    findings
        Headed texts beside the checks, the first the most important.
    limits
        Limits of use, at the foot.
    made_at
        Aware; when the case was converted, not when the page was drawn.
    """

    title: str
    cautions: tuple[str, ...]
    patient: Facts
    times: Facts
    rows: tuple[SectionRow, ...]
    increase_scale: str
    warnings: tuple[WarningLine, ...]
    checks: tuple[CheckLine, ...]
    findings: Facts
    limits: str
    made_at: datetime
