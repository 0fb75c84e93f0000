"""Both series of a case as they were received: parsed, held against the header checks, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.dicom.headers import parse_header
from service.dicom.identity import SIMULATOR
from service.dicom.pair_check import check_pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.selection import Faulty, NotOfInterest, assess_series
from service.dicom.series import SourceSeries
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series_from_bytes
from service.errors import InputRefused, Reason
from service.pipeline import VolumePair
from service.report import SeriesFacts

_ROLES = ("baseline", "delayed")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomPair:
    """The Part 10 files of both series, in any order, and what was decided about them.

    Attributes
    ----------
    derived_at
        Aware; goes into the headers, so it must be the same when the case is converted again.
    replaces
        How many earlier results of the case were delivered.
    """

    case_id: str
    baseline: Sequence[bytes]
    delayed: Sequence[bytes]
    injection_time: datetime | None
    derived_at: datetime
    replaces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReceivedPair:
    """What reading a `DicomPair` found; pairs of values are (baseline, delayed).

    Attributes
    ----------
    rejections
        Why the pair may not be converted; empty when its headers and pixels can be used.
    sources
        Decoded series; fewer than two when one cannot be decoded.
    """

    headers: tuple[tuple[InstanceHeader, ...], tuple[InstanceHeader, ...]]
    summaries: tuple[SeriesSummary, SeriesSummary]
    sources: tuple[SourceSeries, ...]
    rejections: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    hours_after_injection: float | None

    @property
    def volumes(self) -> VolumePair | None:
        """Both volumes, if both could be decoded."""
        if len(self.sources) != len(_ROLES):
            return None
        return VolumePair(baseline=self.sources[0].volume, delayed=self.sources[1].volume)

    @property
    def simulated(self) -> bool:
        """Whether either series says that our simulator made it."""
        return any(summary.header.manufacturer == SIMULATOR for summary in self.summaries)

    def filed(self, study: Literal["baseline", "delayed"]) -> SourceSeries:
        """The decoded series in whose study results are filed."""
        return self.sources[_ROLES.index(study)]

    def facts(self, side: int) -> SeriesFacts:
        """Report facts of the baseline (0) or delayed (1) series."""
        summary = self.summaries[side]
        return SeriesFacts(
            series_instance_uid=summary.series_instance_uid,
            study_instance_uid=summary.header.study_instance_uid,
            acquired_at=summary.acquired_at,
            instances=len(self.headers[side]),
        )


def receive_pair(pair: DicomPair, policy: PairingPolicy) -> ReceivedPair:
    """Parse, check and decode both series.

    Raises
    ------
    InputRefused
        Not one header of a series can be read, so there is nothing to answer to.
    """
    headers = (_headers(pair.baseline), _headers(pair.delayed))
    summaries = (summarise(headers[0]), summarise(headers[1]))
    checked = check_pair(*summaries, injection_time=pair.injection_time, policy=policy)
    rejections = [*checked.rejections, *_faults_of(summaries)]
    sources: list[SourceSeries] = []
    for contents, summary in zip((pair.baseline, pair.delayed), summaries, strict=True):
        try:
            sources.append(read_series_from_bytes(contents, summary))
        except InputRefused as refusal:
            known = {reason.code for reason in rejections}
            rejections += [reason for reason in refusal.reasons if reason.code not in known]
    return ReceivedPair(
        headers=headers,
        summaries=summaries,
        sources=tuple(sources),
        rejections=tuple(rejections),
        warnings=checked.warnings,
        hours_after_injection=checked.hours_after_injection,
    )


def _headers(contents: Sequence[bytes]) -> tuple[InstanceHeader, ...]:
    return tuple(parse_header(content) for content in contents)


def _faults_of(summaries: Sequence[SeriesSummary]) -> list[Reason]:
    """Why a series may not be used; a person who chose the pair may have chosen one that pairing never would."""
    reasons: list[Reason] = []
    for role, summary in zip(_ROLES, summaries, strict=True):
        verdict = assess_series(summary)
        if isinstance(verdict, Faulty):
            reasons += verdict.reasons
        elif isinstance(verdict, NotOfInterest):
            reasons.append(
                Reason(
                    code="NOT_A_T1_HEAD_SERIES",
                    message=f"The {role} series cannot be used: {verdict.reason.message}",
                    measured=verdict.reason.measured,
                    limit=verdict.reason.limit,
                )
            )
    return reasons
