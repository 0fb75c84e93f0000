"""Scans that lie in no window of the injection that is known: mostly the time of the injection is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from service.dicom.candidates import Candidate, Injection
from service.dicom.matches import CandidatePair, Match, MatchKind, distinct, in_order
from service.dicom.pair_check import check_pair, outside_window
from service.dicom.policy import PairingPolicy
from service.errors import Reason

SAME_DAY = timedelta(hours=12)
"""Baseline, injection and delayed scan of a patient take less."""
_BY_TIME = frozenset(
    {"BASELINE_NOT_BEFORE_INJECTION", "BASELINE_OUTSIDE_WINDOW", "DELAYED_OUTSIDE_WINDOW", "INJECTION_IN_FUTURE"}
)


def outside_every_window(after: Sequence[Candidate], policy: PairingPolicy) -> Match | None:
    """Two scans of one day that would be a pair but for the time of the injection, or one of no time point.

    Others are time points of a protocol whose first scans lie elsewhere.
    """
    couple = couple_of(after, policy)
    if couple is not None:
        return Match(
            kind=MatchKind.REJECTED,
            series=(couple.baseline.summary, couple.delayed.summary),
            baseline=couple.baseline.summary,
            delayed=couple.delayed.summary,
            injection=couple.delayed.injection,
            hours=couple.delayed.hours,
            reasons=couple.obstacles,
        )
    strays = [c for c in after if c.hours is not None and not policy.time_point_of(c.hours)]
    if not strays:
        return None
    return Match(
        kind=MatchKind.ALONE,
        series=in_order(strays),
        reasons=distinct(outside_window(c.hours, policy) for c in strays if c.hours is not None),
    )


def couple_of(candidates: Sequence[Candidate], policy: PairingPolicy) -> CandidatePair | None:
    """The first two scans of one day that lie as far apart as a pair does, and that only its times forbid."""
    for one in candidates:
        for other in candidates:
            if timedelta(hours=policy.delayed.earliest_h) <= other.at - one.at <= SAME_DAY:
                check = check_pair(one.summary, other.summary, injection_time=other.injection, policy=policy)
                pair = CandidatePair(baseline=one, delayed=other, check=check)
                if {reason.code for reason in pair.obstacles} <= _BY_TIME:
                    return pair
    return None


def injection_after_both(couple: CandidatePair, injection: Injection, policy: PairingPolicy) -> Match:
    """Held at once: either the time is wrong, or the delayed scan is still to come, and then it takes their place."""
    hours = (couple.delayed.at - injection.first) / timedelta(hours=1)
    return Match(
        kind=MatchKind.REJECTED,
        series=(couple.baseline.summary, couple.delayed.summary),
        baseline=couple.baseline.summary,
        delayed=couple.delayed.summary,
        reasons=(
            Reason(
                code="INJECTION_IN_FUTURE",
                message=f"Two scans of one day lie before the injection, the later one {-hours:.1f} h; accepted: a "
                f"delayed scan {policy.delayed.text}. Correct the time; the delayed scan, once it comes, settles it.",
                measured=round(hours, 2),
                limit=policy.delayed.text,
            ),
        ),
    )
