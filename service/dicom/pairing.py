"""From one patient's series to verdicts: who is one patient, what is a pair, and how long the rest is waited for.

Pure and deterministic: the same series give the same verdicts, in whatever order they come. A pair is never
guessed; the order of preference stands in `service.dicom.matching`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import combinations

from service.dicom.candidates import time_line
from service.dicom.completeness import completeness, wait_for_pair
from service.dicom.injection import InjectionTimes
from service.dicom.likeness import same_patient
from service.dicom.matches import Match, MatchKind
from service.dicom.matching import match
from service.dicom.pair_check import ACQUISITION_TIME_MISSING
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.selection import TOO_FEW_SLICES, Faulty, NotOfInterest, assess_series
from service.dicom.sequence_limits import FEWEST_PLANES
from service.dicom.verdicts import Held, Paired, Unpairable, Verdict, Waiting
from service.errors import Reason

STILL_ARRIVING = timedelta(seconds=10)
"""A T1 series of which few slices are there, and which grew so lately, may turn out a second candidate."""
_TELLING = frozenset({"NOT_ORIGINAL", "NOT_THE_HEAD", "NOT_AN_MR_IMAGE"})
"""Of a whole stack that was left out for these, a person should know where a partner is missing."""
_NO_ARRIVALS: Mapping[str, datetime] = {}


def pair(
    series: Sequence[SeriesSummary],
    now: datetime,
    /,
    *,
    policy: PairingPolicy,
    injection_times: InjectionTimes,
    last_received: Mapping[str, datetime] = _NO_ARRIVALS,
) -> tuple[Verdict, ...]:
    """Verdicts on the series of a patient, or of several.

    Parameters
    ----------
    last_received
        When the newest instance of each series arrived, by Series Instance UID. Waiting times count from there;
        for a series that is not listed, from its acquisition, taken as local to `now`.
    """
    patients: dict[str, list[SeriesSummary]] = defaultdict(list)
    for item in series:
        patients[item.header.patient_id.strip() or f"study {item.header.study_instance_uid}"].append(item)
    desk = _Desk(now=now, policy=policy, times=injection_times, last_received=last_received)
    verdicts = [verdict for one in patients.values() for verdict in desk.verdicts_on(one)]
    return tuple(sorted(verdicts, key=lambda verdict: (_uids(verdict), type(verdict).__name__)))


def _uids(verdict: Verdict) -> tuple[str, ...]:
    if isinstance(verdict, Paired):
        return verdict.baseline_series_uid, verdict.delayed_series_uid
    return verdict.series_uids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    now: datetime
    policy: PairingPolicy
    times: InjectionTimes
    last_received: Mapping[str, datetime] = field(repr=False)

    def verdicts_on(self, series: Sequence[SeriesSummary]) -> list[Verdict]:
        """Verdicts on all series under one Patient ID."""
        usable: list[SeriesSummary] = []
        fragments: list[SeriesSummary] = []
        excluded: list[Reason] = []
        verdicts: list[Verdict] = []
        for item in series:
            assessed = assess_series(item)
            if isinstance(assessed, NotOfInterest):
                fragments += [item] if assessed.reason.code == TOO_FEW_SLICES else []
                excluded += [assessed.reason] if assessed.reason.code in _TELLING and _is_stack(item) else []
            elif isinstance(assessed, Faulty):
                verdicts.append(Unpairable(series_uids=(item.series_instance_uid,), reasons=assessed.reasons))
            elif item.acquired_at is None:
                verdicts.append(
                    Unpairable(series_uids=(item.series_instance_uid,), reasons=(ACQUISITION_TIME_MISSING,))
                )
            else:
                usable.append(item)
        matches = self._matches(_by_identity(usable))
        return verdicts + [self._verdict(found, fragments, tuple(dict.fromkeys(excluded))) for found in matches]

    def _matches(self, groups: Sequence[Sequence[SeriesSummary]]) -> list[Match]:
        found = {number: self._match(group) for number, group in enumerate(groups)}
        if len(groups) < 2:
            return found.get(0, [])
        settled = (MatchKind.PAIR, MatchKind.AMBIGUOUS)
        open_ = [number for number, matches in found.items() if not any(m.kind in settled for m in matches)]
        across = [
            _mismatch(crossing)
            for crossing in self._match([item for number in open_ for item in groups[number]])
            if crossing.kind in (*settled, MatchKind.UNTIMED) and len(_by_identity(crossing.series)) > 1
        ]
        taken = {item.series_instance_uid for crossing in across for item in crossing.series}
        kept = [
            m for matches in found.values() for m in matches if not taken & {s.series_instance_uid for s in m.series}
        ]
        return kept + across

    def _match(self, series: Sequence[SeriesSummary]) -> list[Match]:
        return list(match(time_line(series, self.times, self.policy), self.policy))

    def _verdict(self, found: Match, fragments: Sequence[SeriesSummary], excluded: tuple[Reason, ...]) -> Verdict:
        uids = tuple(item.series_instance_uid for item in found.series)
        lacking = [item for item in found.series if completeness(item).state == "open"]
        reasons = (*(_incomplete(item) for item in lacking), *found.reasons)
        until: datetime | None = None
        if found.kind is MatchKind.ALONE:
            until = self._until(found.series, self.policy.partner_wait)
            reasons = (*found.reasons, *(_incomplete(item) for item in lacking), *map(_fragment, fragments), *excluded)
        elif lacking:
            until = self._until(lacking, self.policy.incomplete_wait)
        elif found.kind is MatchKind.PAIR:
            arriving = [item for item in fragments if item.series_instance_uid in self.last_received]
            until = self._until(arriving, STILL_ARRIVING) if arriving else None
            reasons = tuple(map(_fragment, arriving))
        if until is not None and until > self.now:
            return Waiting(series_uids=uids, until=until, reasons=reasons)
        if found.kind is MatchKind.PAIR and not lacking and found.baseline and found.delayed:
            return Paired(
                baseline_series_uid=found.baseline.series_instance_uid,
                delayed_series_uid=found.delayed.series_instance_uid,
                injection_time=found.injection,
                hours_after_injection=found.hours,
                wait=wait_for_pair(found.baseline, found.delayed),
                follow_up_series_uid=found.follow_up.series_instance_uid if found.follow_up else "",
                follow_up_hours=found.follow_up_hours,
            )
        return Held(
            series_uids=uids,
            reasons=reasons,
            baseline_series_uid=found.baseline.series_instance_uid if found.baseline else "",
            delayed_series_uid=found.delayed.series_instance_uid if found.delayed else "",
        )

    def _until(self, series: Iterable[SeriesSummary], wait: timedelta) -> datetime:
        return max(self._arrival(item) for item in series) + wait

    def _arrival(self, item: SeriesSummary) -> datetime:
        arrival = self.last_received.get(item.series_instance_uid) or item.acquired_at or self.now
        if (arrival.tzinfo is None) != (self.now.tzinfo is None):
            arrival = arrival.replace(tzinfo=self.now.tzinfo)
        return arrival


def _by_identity(series: Sequence[SeriesSummary]) -> list[list[SeriesSummary]]:
    """Series of one person each.

    Where no two headers contradict each other all are one person's, and a blank issuer or birth date is no
    contradiction. Where some do, only series that state exactly the same are one person's: blank could be either.
    """
    if all(same_patient(one.header, other.header) for one, other in combinations(series, 2)):
        return [list(series)] if series else []
    groups: dict[tuple[str, ...], list[SeriesSummary]] = defaultdict(list)
    for item in series:
        header = item.header
        stated = (header.issuer_of_patient_id, header.patient_birth_date, header.patient_sex, header.patient_name)
        groups[tuple(part.strip() for part in stated)].append(item)
    return [groups[key] for key in sorted(groups)]


def _mismatch(crossing: Match) -> Match:
    return replace(
        crossing,
        kind=MatchKind.REJECTED,
        reasons=(
            Reason(
                code="PATIENT_MISMATCH",
                message="Series under one Patient ID would be a pair, but differ in birth date, sex, name or issuer of "
                "the Patient ID; accepted: the same in both. Correct the wrong one in PACS and send it again.",
                measured=float(len(_by_identity(crossing.series))),
                limit=1.0,
            ),
        ),
    )


def _incomplete(item: SeriesSummary) -> Reason:
    judged = completeness(item)
    return Reason(
        code="SERIES_INCOMPLETE",
        message=f"A series has not arrived whole: {judged.reason}; accepted: every slice. Send the series again.",
        measured=float(judged.found),
        limit=None if judged.expected is None else float(judged.expected),
    )


def _is_stack(item: SeriesSummary) -> bool:
    return max(item.n_frames, len(item.sop_instance_uids)) >= FEWEST_PLANES


def _fragment(item: SeriesSummary) -> Reason:
    return Reason(
        code=TOO_FEW_SLICES,
        message="Another T1 series has too few slices for a head so far and was not counted; if slices are missing, "
        "send it again.",
        measured=float(completeness(item).found),
    )
