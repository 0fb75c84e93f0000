"""From an index, or a table of pairs, to the cases of a batch: what will be converted, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.batch.index import Index, IndexedInstance
from service.batch.sources import FileSource
from service.cases import case_id_for, digest_id
from service.dicom.injection import InjectionTimes
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.dicom.verdicts import Held, Paired, Unpairable, Waiting
from service.errors import InputRefused, Reason, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSeries:
    """A series of a case: where its instances lie, and their hashes in the same order."""

    series_uid: str
    files: tuple[FileSource, ...]
    sha256: tuple[str, ...]

    @property
    def place(self) -> str:
        """The folder or archive of its first file."""
        return self.files[0].place if self.files else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomCase:
    """A pair of DICOM series to convert."""

    case_id: str
    baseline: BatchSeries
    delayed: BatchSeries
    injection_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiCase:
    """A pair of NIfTI files to convert; times are stated by the table, since the files have none."""

    case_id: str
    baseline: FileSource
    delayed: FileSource
    hours_after_injection: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCase:
    """Series that are no pair, and why."""

    case_id: str
    places: tuple[str, ...]
    reasons: tuple[Reason, ...]


BatchCase = DicomCase | NiftiCase | RefusedCase


def pair_up(
    index: Index, *, policy: PairingPolicy, injection_times: InjectionTimes, now: datetime
) -> tuple[BatchCase, ...]:
    """Pair every patient's series as the service would after waiting in vain for more.

    Parameters
    ----------
    now
        Late enough that every waiting time is over.
    """
    cases: list[BatchCase] = []
    for uids in index.patients.values():
        summaries: list[SeriesSummary] = []
        for uid in uids:
            try:
                summaries.append(summarise([instance.header for instance in index.series[uid]]))
            except InputRefused as refusal:
                cases.append(_refused(index, (uid,), refusal.reasons))
        for verdict in pair(summaries, now, policy=policy, injection_times=injection_times):
            if isinstance(verdict, Paired):
                cases.append(
                    chosen_pair(index, verdict.baseline_series_uid, verdict.delayed_series_uid, verdict.injection_time)
                )
            else:
                cases.append(_refused(index, verdict.series_uids, verdict.reasons, _case_id_of(verdict)))
    return tuple(cases)


def _case_id_of(verdict: Held | Waiting | Unpairable) -> str:
    """The pair's own id where the pair is known and only something about it is not; else empty."""
    if isinstance(verdict, Held) and verdict.baseline_series_uid and verdict.delayed_series_uid:
        return case_id_for(verdict.baseline_series_uid, verdict.delayed_series_uid)
    return ""


def chosen_pair(index: Index, baseline_uid: str, delayed_uid: str, injection_time: datetime | None) -> BatchCase:
    """The case of two series by UID; refused when an instance of either came with two contents.

    Raises
    ------
    UsageError
        There is no such series.
    """
    for uid in (baseline_uid, delayed_uid):
        if uid not in index.series:
            raise UsageError(f"series {uid}: not found below the sources; accepted: one of {len(index.series)} found")
    case_id = case_id_for(baseline_uid, delayed_uid)
    conflicts = sum(index.conflicts.get(uid, 0) for uid in (baseline_uid, delayed_uid))
    if conflicts:
        reason = Reason(
            code="CONFLICTING_INSTANCES",
            message="Instances lie there twice with different content under one SOP Instance UID; "
            "remove the wrong ones and convert again.",
            measured=float(conflicts),
            limit=0.0,
        )
        return _refused(index, (baseline_uid, delayed_uid), (reason,), case_id)
    return DicomCase(
        case_id=case_id,
        baseline=batch_series(index.series[baseline_uid]),
        delayed=batch_series(index.series[delayed_uid]),
        injection_time=injection_time,
    )


def batch_series(instances: Sequence[IndexedInstance]) -> BatchSeries:
    """The files of one series, ordered by SOP Instance UID so that the order of a folder changes nothing."""
    ordered = sorted(instances, key=lambda instance: instance.header.sop_instance_uid)
    return BatchSeries(
        series_uid=ordered[0].header.series_instance_uid,
        files=tuple(instance.source for instance in ordered),
        sha256=tuple(instance.sha256 for instance in ordered),
    )


def _refused(index: Index, uids: Sequence[str], reasons: tuple[Reason, ...], case_id: str = "") -> RefusedCase:
    return RefusedCase(
        case_id=case_id or digest_id("unpaired", *sorted(uids)),
        places=tuple(_place(index.series, uid) for uid in uids),
        reasons=reasons,
    )


def _place(series: Mapping[str, Sequence[IndexedInstance]], uid: str) -> str:
    return series[uid][0].source.place
