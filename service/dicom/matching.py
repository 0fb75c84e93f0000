"""Which of one patient's series belong together; how long to wait for what is missing is not decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from service.dicom.candidates import Candidate, Injection, TimeLine
from service.dicom.completeness import completeness
from service.dicom.injection import HOW_TO_SUPPLY_THE_TIME, unused_contrast_start
from service.dicom.matches import CandidatePair, Match, MatchKind, distinct, in_order, obstacles_of
from service.dicom.mistimed import couple_of, injection_after_both, outside_every_window
from service.dicom.pair_check import check_pair, outside_window
from service.dicom.policy import PairingPolicy
from service.errors import Reason

SESSION = timedelta(hours=3)
"""Scans of one visit; within it the later of two baselines is a repetition, not a better choice."""


def match(line: TimeLine, policy: PairingPolicy) -> tuple[Match, ...]:
    """One match for every injection, and for every group of series whose injection is not known."""
    timed = [found for injection in line.injections if (found := _around(injection, line, policy)) is not None]
    return (*timed, *_without_injection(line, policy))


def _around(injection: Injection, line: TimeLine, policy: PairingPolicy) -> Match | None:
    before = [c for c in line.candidates if _is_baseline(c, injection, line, policy)]
    after = [c for c in line.candidates if injection.covers(c)]
    delayed = [c for c in after if c.hours is not None and policy.delayed.contains(c.hours, policy.warn_tolerance_h)]
    if before and delayed:
        return _followed_up(_choose(_pairs(before, delayed, policy), policy), after, policy)
    if delayed:
        return _baseline_missing(injection, delayed, line, policy)
    if before:
        return _delayed_missing(injection, before, after, policy)
    return outside_every_window(after, policy)


def _is_baseline(candidate: Candidate, injection: Injection, line: TimeLine, policy: PairingPolicy) -> bool:
    """In the baseline window, and no other injection that may still show lies before it or between."""
    if not policy.baseline.contains((candidate.at - injection.first) / timedelta(hours=1)):
        return False
    tracer_since = candidate.at - timedelta(hours=policy.washout_h)
    return not any(tracer_since < other.last and other.first < injection.first for other in line.injections)


def _pairs(before: Iterable[Candidate], delayed: Sequence[Candidate], policy: PairingPolicy) -> list[CandidatePair]:
    return [
        CandidatePair(
            baseline=b,
            delayed=d,
            check=check_pair(b.summary, d.summary, injection_time=d.injection, policy=policy),
        )
        for b in before
        for d in delayed
    ]


def _choose(pairs: Sequence[CandidatePair], policy: PairingPolicy) -> Match:
    """The one best pair; where two are equally good, none.

    Better is, in this order: no rejection; inside the window rather than in its warning band; a baseline of the
    last visit before the injection; no warning.
    """
    sound = [pair for pair in pairs if not pair.obstacles]
    best = sound or list(pairs)
    best = _preferring(best, lambda pair: policy.delayed.contains(pair.delayed.hours or 0.0))
    last = max(best, key=lambda pair: pair.baseline.at).baseline
    best = [pair for pair in best if _same_visit(pair.baseline, last)]
    if sound:
        best = _preferring(best, lambda pair: not pair.check.warnings)
    only = best[0] if len(best) == 1 else None
    series = in_order(candidate for pair in best for candidate in (pair.baseline, pair.delayed))
    if only is None and sound:
        return Match(kind=MatchKind.AMBIGUOUS, series=series, reasons=(_ambiguous(best),))
    return Match(
        kind=MatchKind.PAIR if sound else MatchKind.REJECTED,
        series=series,
        reasons=distinct(reason for pair in best for reason in pair.obstacles),
        baseline=only.baseline.summary if only else None,
        delayed=only.delayed.summary if only else None,
        injection=only.delayed.injection if only else None,
        hours=only.check.hours_after_injection if only else None,
    )


def _followed_up(found: Match, after: Sequence[Candidate], policy: PairingPolicy) -> Match:
    """With the whole scan nearest to the middle of the follow-up's window that was acquired as the baseline was."""
    window = policy.follow_up
    if window is None or found.kind is not MatchKind.PAIR or found.baseline is None:
        return found
    then = replace(policy, delayed=window)
    sound = [
        c
        for c in after
        if c.hours is not None
        and window.contains(c.hours)
        and completeness(c.summary).state != "open"
        and not obstacles_of(check_pair(found.baseline, c.summary, injection_time=c.injection, policy=then))
    ]
    middle = (window.earliest_h + window.latest_h) / 2
    best = min(sound, key=lambda c: (abs((c.hours or 0.0) - middle), c.summary.series_instance_uid), default=None)
    return replace(found, follow_up=best.summary, follow_up_hours=best.hours) if best else found


def _preferring(pairs: list[CandidatePair], wanted: Callable[[CandidatePair], bool]) -> list[CandidatePair]:
    return [pair for pair in pairs if wanted(pair)] or pairs


def _same_visit(one: Candidate, other: Candidate) -> bool:
    same_study = one.summary.header.study_instance_uid == other.summary.header.study_instance_uid
    return same_study or abs(one.at - other.at) <= SESSION


def _ambiguous(pairs: Sequence[CandidatePair]) -> Reason:
    baselines = len({pair.baseline.summary.series_instance_uid for pair in pairs})
    delayed = len({pair.delayed.summary.series_instance_uid for pair in pairs})
    return Reason(
        code="AMBIGUOUS_PAIR",
        message=f"{baselines} series can be the baseline and {delayed} the delayed scan, and the headers do not say "
        "which to use; accepted: one of each. Choose with `csf24 cases release CASE --baseline UID --delayed UID` "
        "from the series of this case, or send only the two to use.",
        measured=f"{baselines} and {delayed}",
        limit="1 and 1",
    )


def _baseline_missing(
    injection: Injection, delayed: Sequence[Candidate], line: TimeLine, policy: PairingPolicy
) -> Match:
    earlier = [(c.at - injection.first) / timedelta(hours=1) for c in line.candidates if c.at < injection.first]
    found = f"the nearest was acquired {-max(earlier):.0f} h before" if earlier else "none from before it was received"
    return Match(
        kind=MatchKind.ALONE,
        series=in_order(delayed),
        delayed=delayed[0].summary if len(delayed) == 1 else None,
        injection=delayed[0].injection if len(delayed) == 1 else None,
        reasons=(
            Reason(
                code="BASELINE_MISSING",
                message="There is no usable 3D T1 head series from before the injection beside the delayed one "
                f"({found}); accepted: {policy.baseline.text}, with no other injection shortly before. "
                "Send the baseline.",
                measured=round(max(earlier), 1) if earlier else None,
                limit=policy.baseline.text,
            ),
        ),
    )


def _delayed_missing(
    injection: Injection, before: Sequence[Candidate], after: Sequence[Candidate], policy: PairingPolicy
) -> Match:
    """A scan after the window that is no time point of the protocol was meant to be the delayed one."""
    late = [c for c in after if c.hours is not None and c.hours >= policy.delayed.latest_h]
    first = min(late, key=lambda c: c.at, default=None)
    baseline = before[0].summary if len(before) == 1 else None
    if first is not None and first.hours is not None and not policy.time_point_of(first.hours):
        return Match(
            kind=MatchKind.REJECTED,
            series=in_order((*before, first)),
            baseline=baseline,
            delayed=first.summary,
            injection=first.injection,
            hours=first.hours,
            reasons=(outside_window(first.hours, policy),),
        )
    couple = couple_of(before, policy) if not after else None
    if couple is not None:
        return injection_after_both(couple, injection, policy)
    others = ", ".join(f"{c.hours:.1f} h" for c in after if c.hours is not None)
    return Match(
        kind=MatchKind.ALONE,
        series=in_order(before),
        baseline=baseline,
        reasons=(
            Reason(
                code="DELAYED_MISSING",
                message="There is no usable 3D T1 head series from the time after the injection beside the baseline "
                f"({f'others were acquired {others} after it' if others else 'none was received'}); accepted: "
                f"{policy.delayed.text}. Send the delayed scan.",
                measured=others or None,
                limit=policy.delayed.text,
            ),
        ),
    )


def _without_injection(line: TimeLine, policy: PairingPolicy) -> Iterator[Match]:
    """Series that no known injection explains, in groups near enough in time to hold a pair."""
    loose = [
        c
        for c in line.candidates
        if c.injection is None and not any(_is_baseline(c, injection, line, policy) for injection in line.injections)
    ]
    reach = timedelta(hours=policy.delayed.latest_h + policy.warn_tolerance_h - policy.baseline.earliest_h)
    for group in _groups(loose, reach):
        apart = [
            (b, d)
            for b in group
            for d in group
            if timedelta(hours=policy.delayed.earliest_h - policy.warn_tolerance_h) <= d.at - b.at <= reach
        ]
        pairs = [pair for b, d in apart for pair in _pairs((b,), (d,), policy)]
        sound = [pair for pair in pairs if not pair.obstacles]
        if sound:
            yield _untimed(sound, policy)
        elif not line.injections or group[-1].at > line.injections[-1].last:  # not a prior of a known episode
            yield _alone(group, pairs)


def _untimed(pairs: Sequence[CandidatePair], policy: PairingPolicy) -> Match:
    only = pairs[0] if len(pairs) == 1 else None
    series = in_order(candidate for pair in pairs for candidate in (pair.baseline, pair.delayed))
    choice = "" if only else " Name the pair as well, with --baseline UID --delayed UID."
    return Match(
        kind=MatchKind.UNTIMED,
        series=series,
        baseline=only.baseline.summary if only else None,
        delayed=only.delayed.summary if only else None,
        reasons=(
            Reason(
                code="INJECTION_TIME_MISSING",
                message=f"{len(series)} series can be baseline and delayed scan, but the time of the intrathecal "
                f"injection is not known; accepted: a delayed scan {policy.delayed.text}. "
                f"{HOW_TO_SUPPLY_THE_TIME}{choice}",
            ),
            *distinct(reason for item in series if (reason := unused_contrast_start(item)) is not None),
        ),
    )


def _alone(group: Sequence[Candidate], pairs: Sequence[CandidatePair]) -> Match:
    return Match(
        kind=MatchKind.ALONE,
        series=in_order(group),
        reasons=(
            Reason(
                code="PARTNER_MISSING",
                message="There is no pair of a baseline and a delayed 3D T1 head series, and the time of the injection "
                "is not known; accepted: one scan before the injection and one after. Send the other series.",
                measured=float(len(group)),
                limit=2.0,
            ),
            *distinct(reason for pair in pairs for reason in pair.obstacles),
        ),
    )


def _groups(ordered: Sequence[Candidate], reach: timedelta) -> Iterator[list[Candidate]]:
    """Runs of series of which each was acquired within `reach` of the one before."""
    group: list[Candidate] = []
    for candidate in ordered:
        if group and candidate.at - group[-1].at > reach:
            yield group
            group = []
        group.append(candidate)
    if group:
        yield group
