"""What matching finds: series that belong to one decision, and candidate pairs with what forbids them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from service.dicom.candidates import Candidate
from service.dicom.pair_check import PairCheck
from service.dicom.records import SeriesSummary
from service.errors import Reason

_KNOWN_OTHERWISE = frozenset({"PATIENT_MISMATCH", "INJECTION_TIME_MISSING"})
"""Identity is settled before series get here, and a missing injection time is held by itself."""


class MatchKind(Enum):
    """What was found."""

    PAIR = "pair"
    AMBIGUOUS = "several pairs are equally good"
    REJECTED = "the only choice failed the checks"
    UNTIMED = "a pair, but the injection is not known"
    ALONE = "no partner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Series that belong to one decision.

    Attributes
    ----------
    series
        All that it is about, in order of acquisition.
    baseline, delayed
        As far as they are clear.
    follow_up, follow_up_hours
        Of a pair: the scan of the time that is predicted.
    """

    kind: MatchKind
    series: tuple[SeriesSummary, ...]
    reasons: tuple[Reason, ...] = ()
    baseline: SeriesSummary | None = None
    delayed: SeriesSummary | None = None
    injection: datetime | None = None
    hours: float | None = None
    follow_up: SeriesSummary | None = None
    follow_up_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePair:
    """A choice of baseline and delayed scan with what the headers say of it."""

    baseline: Candidate
    delayed: Candidate
    check: PairCheck

    @property
    def obstacles(self) -> tuple[Reason, ...]:
        """What forbids it."""
        return obstacles_of(self.check)


def obstacles_of(check: PairCheck) -> tuple[Reason, ...]:
    """Rejections but for what is settled before or elsewhere."""
    return tuple(reason for reason in check.rejections if reason.code not in _KNOWN_OTHERWISE)


def in_order(candidates: Iterable[Candidate]) -> tuple[SeriesSummary, ...]:
    """Their series, once each, in order of acquisition."""
    ordered = sorted(candidates, key=lambda c: (c.at, c.summary.series_instance_uid))
    return tuple({c.summary.series_instance_uid: c.summary for c in ordered}.values())


def distinct(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Each reason once."""
    return tuple(dict.fromkeys(reasons))
