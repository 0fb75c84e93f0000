"""From an index, or a table of pairs, to the cases of a batch: what will be converted, and what cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.batch.index import Index, IndexedInstance
from service.batch.sources import FileSource
from service.cases import case_id_for, digest_id
from service.dicom.injection import InjectionTimes
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.selection import NotOfInterest, assess_series
from service.dicom.summaries import summarise
from service.dicom.verdicts import Held, Paired, Unpairable, Waiting
from service.errors import Reason, UsageError
from service.report import SeriesFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesNote:
    """A series as reports and summaries name it.

    Attributes
    ----------
    place
        Where it lies.
    facts
        What its headers say; None when it is not DICOM, or could not be read.
    """

    place: str
    facts: SeriesFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSeries:
    """A series of a case: what its headers say, where its instances lie, and their hashes in the same order."""

    facts: SeriesFacts
    files: tuple[FileSource, ...]
    sha256: tuple[str, ...]

    @property
    def series_uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return self.facts.series_instance_uid

    @property
    def note(self) -> SeriesNote:
        """With the folder or archive of its first file."""
        return SeriesNote(place=self.files[0].place if self.files else "", facts=self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomCase:
    """A pair of DICOM series to convert."""

    case_id: str
    baseline: BatchSeries
    delayed: BatchSeries
    injection_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiCase:
    """A pair of NIfTI files; times are stated by the table, since the files have none.

    Attributes
    ----------
    reasons
        Why the times alone refuse it; empty for a pair to convert.
    """

    case_id: str
    baseline: FileSource
    delayed: FileSource
    hours_after_injection: float | None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCase:
    """Series that are no pair, and why.

    Attributes
    ----------
    baseline, delayed
        As far as it is clear which is which.
    others
        All others that it is about.
    """

    case_id: str
    reasons: tuple[Reason, ...]
    baseline: SeriesNote | None = None
    delayed: SeriesNote | None = None
    others: tuple[SeriesNote, ...] = ()


BatchCase = DicomCase | NiftiCase | RefusedCase


def notes_of(case: BatchCase) -> tuple[SeriesNote | None, SeriesNote | None, tuple[SeriesNote, ...]]:
    """Baseline, delayed, others."""
    if isinstance(case, DicomCase):
        return case.baseline.note, case.delayed.note, ()
    if isinstance(case, NiftiCase):
        return SeriesNote(place=str(case.baseline.path)), SeriesNote(place=str(case.delayed.path)), ()
    return case.baseline, case.delayed, case.others


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
        summaries = [_summary(index, uid) for uid in uids]
        for verdict in pair(summaries, now, policy=policy, injection_times=injection_times):
            if isinstance(verdict, Paired):
                cases.append(
                    chosen_pair(index, verdict.baseline_series_uid, verdict.delayed_series_uid, verdict.injection_time)
                )
            else:
                cases.append(_refused(index, verdict))
    return tuple(cases)


def unread_cases(index: Index) -> tuple[RefusedCase, ...]:
    """A refusal for every archive and folder that could not be read: patients may be in there."""
    return tuple(
        RefusedCase(
            case_id=digest_id("unread", str(place.resolve())),
            reasons=(unread_reason(fault),),
            others=(SeriesNote(place=str(place)),),
        )
        for place, fault in index.unread.items()
    )


def unread_reason(fault: str) -> Reason:
    """Of an archive or folder; without its name, which may be a patient's."""
    return Reason(
        code="FILE_UNREADABLE",
        message=f"An archive or folder could not be read, or not whole ({fault}); series that it holds may be missing. "
        "Copy or unpack it again, and convert again.",
    )


def passed_over(index: Index, cases: Iterable[BatchCase]) -> Counter[str]:
    """How many series are part of no case, by the code of what excludes them; ``NOT_NEEDED`` where nothing does."""
    named = {
        note.facts.series_instance_uid
        for case in cases
        for note in (*notes_of(case)[:2], *notes_of(case)[2])
        if note is not None and note.facts is not None
    }
    found: Counter[str] = Counter()
    for uid in index.series.keys() - named:
        verdict = assess_series(_summary(index, uid))
        found[verdict.reason.code if isinstance(verdict, NotOfInterest) else "NOT_NEEDED"] += 1
    return found


def _summary(index: Index, uid: str) -> SeriesSummary:
    return summarise([instance.header for instance in index.series[uid]])


def chosen_pair(index: Index, baseline_uid: str, delayed_uid: str, injection_time: datetime | None) -> BatchCase:
    """The case of two series by UID; refused when an instance of either came with two images.

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
            message="Instances lie there twice with different images under one SOP Instance UID; "
            "remove the wrong ones and convert again.",
            measured=float(conflicts),
            limit=0.0,
        )
        notes = [batch_series(index.series[uid]).note for uid in (baseline_uid, delayed_uid)]
        return RefusedCase(case_id=case_id, reasons=(reason,), baseline=notes[0], delayed=notes[1])
    return DicomCase(
        case_id=case_id,
        baseline=batch_series(index.series[baseline_uid]),
        delayed=batch_series(index.series[delayed_uid]),
        injection_time=injection_time,
    )


def batch_series(instances: Sequence[IndexedInstance]) -> BatchSeries:
    """The files of one series, ordered by SOP Instance UID so that the order of a folder changes nothing."""
    ordered = sorted(instances, key=lambda instance: instance.header.sop_instance_uid)
    summary = summarise([instance.header for instance in ordered])
    return BatchSeries(
        facts=SeriesFacts(
            series_instance_uid=summary.series_instance_uid,
            study_instance_uid=summary.header.study_instance_uid,
            acquired_at=summary.acquired_at,
            instances=len(ordered),
        ),
        files=tuple(instance.source for instance in ordered),
        sha256=tuple(instance.sha256 for instance in ordered),
    )


def _refused(index: Index, verdict: Held | Waiting | Unpairable) -> RefusedCase:
    """Under the pair's own id where the pair is known and only something about it is not."""
    notes = {uid: batch_series(index.series[uid]).note for uid in verdict.series_uids}
    baseline, delayed = ("", "")
    if isinstance(verdict, Held):
        baseline, delayed = verdict.baseline_series_uid, verdict.delayed_series_uid
    known = case_id_for(baseline, delayed) if baseline and delayed else ""
    return RefusedCase(
        case_id=known or digest_id("unpaired", *sorted(verdict.series_uids)),
        reasons=verdict.reasons,
        baseline=notes.pop(baseline, None),
        delayed=notes.pop(delayed, None),
        others=tuple(notes.values()),
    )
