"""The composition root of a batch: what the user named -> the cases, and how to convert them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

from service import __version__
from service.app import utc_now
from service.batch.bids.target import plan_target
from service.batch.cases import (
    BatchCase,
    DicomCase,
    NiftiCase,
    RefusedCase,
    SeriesNote,
    batch_series,
    chosen_pair,
    pair_up,
    passed_over,
    unread_cases,
    unread_reason,
)
from service.batch.convert_case import BatchRequest
from service.batch.index import Index, build_index
from service.batch.layout import BIDS_NAME
from service.batch.run import MakeConverter
from service.batch.sources import FileSource, find_files
from service.batch.table import TableRow, read_table
from service.cases import digest_id
from service.config import Config
from service.conversion import Converter
from service.dicom.injection import InjectionTimes, injection_time_for
from service.dicom.pair_check import outside_window
from service.dicom.policy import PairingPolicy
from service.dicom.summaries import summarise
from service.errors import ModelError, Reason, UsageError
from service.inference.manifest import load_manifest
from service.monitoring.log import configure_logging
from service.wiring import choose_model, injection_times, make_converter, output_selection, pairing_policy

LOG_LEVEL: Literal["warning"] = "warning"
"""Of a command whose progress bar and table say the rest."""
_MOST_NAMED = 5
_NOTHING_MORE_WILL_COME = timedelta(days=36500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the user named."""

    sources: tuple[Path, ...] = ()
    table: Path | None = None
    baseline_uid: str | None = None
    delayed_uid: str | None = None
    injection_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The cases, and what was seen on the way.

    Attributes
    ----------
    files
        Number of files looked at.
    passed_over
        One sentence on the files that are no part of any case.
    """

    cases: tuple[BatchCase, ...]
    request: BatchRequest
    make_converter: MakeConverter
    simulated_training: bool
    files: int
    passed_over: str


def plan_batch(
    choice: Choice,
    config: Config,
    *,
    out: Path,
    model: str | None,
    bids: bool = False,
    on_file: Callable[[], None] = lambda: None,
) -> Plan:
    """Read all headers and pair what belongs together.

    Parameters
    ----------
    bids
        Whether to write a BIDS dataset as well.

    Raises
    ------
    UsageError
        The choice contradicts itself, names something that is not there, nothing of use was found, or the cases
        cannot be told apart in a BIDS dataset.
    ModelError
        The configured model is not there, or not usable.
    """
    _check(choice)
    manifest = load_manifest(_model_directory(config, model))
    prepared = (manifest.recipe, manifest.calibration, manifest.reach)
    settings = {
        "software": __version__,
        "model": manifest.sha256,
        "outputs": asdict(output_selection(config)),
        "policy": repr(pairing_policy(config)),
        "fallback": config.normalisation.fallback,
        "prepared": [asdict(part) if part else None for part in prepared],
    }
    request = BatchRequest(
        out=out,
        settings=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        software_version=__version__,
        now=utc_now().astimezone(),  # DICOM dates are local
    )
    if choice.table is not None:
        cases, seen = _from_table(choice.table, config, on_file)
    else:
        cases, seen = _from_sources(choice, config, on_file)
    if not cases:
        raise UsageError(f"no pair of series was found: {seen.sentence()}")
    once = _once(cases)
    return Plan(
        cases=once,
        request=replace(request, bids=plan_target(out / BIDS_NAME, once)) if bids else request,
        make_converter=partial(_ready_converter, config, model),
        simulated_training=manifest.simulated_training,
        files=seen.files,
        passed_over=seen.sentence(),
    )


def _model_directory(config: Config, name: str | None) -> Path:
    try:
        return choose_model(config, name).directory
    except ModelError as fault:
        if name is None:
            raise
        raise UsageError(f"--model: {fault}") from fault


def _ready_converter(config: Config, model: str | None) -> Converter:
    """In whichever process; a worker has no log of its own yet."""
    configure_logging(LOG_LEVEL, config.logging.format, sys.stderr)
    return make_converter(config, model)


@dataclass(slots=True)
class _Seen:
    files: int = 0
    not_dicom: int = 0
    unusable: int = 0
    recoded: int = 0
    first_fault: str = ""
    unread: list[str] = field(default_factory=list)
    spare_series: Counter[str] = field(default_factory=Counter)

    def add(self, index: Index) -> None:
        self.not_dicom += index.not_dicom
        self.unusable += len(index.unusable)
        if index.unusable and not self.first_fault:
            first = index.unusable[0]
            self.first_fault = f"{first.source.name}: {first.code}, {first.message}"
        self.recoded += index.recoded
        self.unread += [place.name for place in index.unread]

    def sentence(self) -> str:
        parts = [f"{self.files} files read"]
        if self.not_dicom:
            parts.append(f"{self.not_dicom} are not DICOM")
        if self.recoded:
            parts.append(
                f"{self.recoded} hold the image of another one (in another encoding, or with other words in "
                "the header) and were left out"
            )
        if self.unusable:
            parts.append(f"{self.unusable} cannot be used (the first: {self.first_fault.rstrip('.')})")
        if self.unread:
            more = len(self.unread) - _MOST_NAMED
            names = ", ".join(self.unread[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            parts.append(f"{len(self.unread)} archives or folders not, or not whole ({names})")
        if self.spare_series:
            codes = ", ".join(f"{code} {count}" for code, count in sorted(self.spare_series.items()))
            parts.append(f"{self.spare_series.total()} series are no part of a pair ({codes})")
        return ", ".join(parts) + "."


def _check(choice: Choice) -> None:
    if bool(choice.sources) == (choice.table is not None):
        raise UsageError("give either SOURCE... or --manifest pairs.csv")
    if (choice.baseline_uid is None) != (choice.delayed_uid is None):
        raise UsageError("--baseline and --delayed go together")
    if choice.table is not None and (choice.baseline_uid or choice.injection_time):
        raise UsageError("with --manifest, series and injection times are in the table, not on the command line")


def _from_sources(choice: Choice, config: Config, on_file: Callable[[], None]) -> tuple[list[BatchCase], _Seen]:
    seen = _Seen()
    index = _index(choice.sources, seen, on_file)
    if not index.series and not index.unread:
        raise UsageError(f"no DICOM series below the sources: {seen.sentence()}")
    times = injection_times(config.pairing.injection_times)
    if choice.injection_time is not None:
        if len(index.patients) > 1 and choice.baseline_uid is None:
            raise UsageError(
                f"--injection-time is one patient's, but the sources hold {len(index.patients)}; "
                "put the times of several into a table (pairing.injection_times in the configuration)"
            )
        times = replace(times, explicit=choice.injection_time)
    if choice.baseline_uid and choice.delayed_uid:
        case = chosen_pair(index, choice.baseline_uid, choice.delayed_uid, None)
        return [_with_time(case, index, times)], seen
    policy = pairing_policy(config)
    now = utc_now() + _NOTHING_MORE_WILL_COME
    cases = list(pair_up(index, policy=policy, injection_times=times, now=now))
    seen.spare_series = passed_over(index, cases)
    return [*cases, *unread_cases(index)], seen


def _from_table(table: Path, config: Config, on_file: Callable[[], None]) -> tuple[list[BatchCase], _Seen]:
    seen = _Seen()
    times = injection_times(config.pairing.injection_times)
    cases: list[BatchCase] = []
    for row in read_table(table):
        if row.nifti:
            seen.files += 2
            cases.append(_nifti_case(row, config))
        else:
            cases.append(_dicom_case(row, times, seen, on_file))
    return cases, seen


def _nifti_case(row: TableRow, config: Config) -> BatchCase:
    reason = _against_hours(row.hours_after_injection, pairing_policy(config))
    return NiftiCase(
        case_id=row.case or digest_id("nifti", str(row.baseline.resolve()), str(row.delayed.resolve())),
        baseline=FileSource(path=row.baseline),
        delayed=FileSource(path=row.delayed),
        hours_after_injection=row.hours_after_injection,
        reasons=(reason,) if reason else (),
    )


def _against_hours(hours: float | None, policy: PairingPolicy) -> Reason | None:
    """Why a NIfTI pair may not be converted by its time alone."""
    if hours is None:
        return Reason(
            code="INJECTION_TIME_MISSING",
            message="NIfTI files hold no times, and the table states none; add the column hours_after_injection.",
            limit=policy.delayed.text,
        )
    if not policy.delayed.contains(hours, policy.warn_tolerance_h):
        return outside_window(hours, policy)
    return None


def _dicom_case(row: TableRow, times: InjectionTimes, seen: _Seen, on_file: Callable[[], None]) -> BatchCase:
    sides = [_index((path,), seen, on_file) for path in (row.baseline, row.delayed)]
    reason = _not_a_pair(row, sides)
    if reason is not None:
        found = [batch_series(series).note for index in sides for series in index.series.values()]
        case_id = row.case or digest_id("table", str(row.baseline.resolve()), str(row.delayed.resolve()))
        places = [SeriesNote(place=str(path)) for path in (row.baseline, row.delayed)]
        return RefusedCase(
            case_id=case_id, reasons=(reason,), baseline=places[0], delayed=places[1], others=tuple(found)
        )
    both = Index(
        series={uid: found for index in sides for uid, found in index.series.items()},
        conflicts={uid: n for index in sides for uid, n in index.conflicts.items()},
    )
    baseline_uid, delayed_uid = (next(iter(index.series)) for index in sides)
    case = chosen_pair(both, baseline_uid, delayed_uid, row.injection_time)
    if row.injection_time is None:
        case = _with_time(case, both, times)
    return replace(case, case_id=row.case) if row.case else case


def _not_a_pair(row: TableRow, sides: list[Index]) -> Reason | None:
    for index in sides:
        if len(index.series) != 1 and index.unread:
            return unread_reason(next(iter(index.unread.values())))
        if len(index.series) != 1:
            return Reason(
                code="NOT_ONE_SERIES",
                message=f"Line {row.line} of the table names a place with {len(index.series)} DICOM series; "
                "accepted: a folder or .zip with exactly one.",
                measured=float(len(index.series)),
                limit=1.0,
            )
    if sides[0].series.keys() == sides[1].series.keys():
        return Reason(code="SAME_SERIES", message=f"Line {row.line} names one series as baseline and as delayed.")
    return None


def _with_time(case: BatchCase, index: Index, times: InjectionTimes) -> BatchCase:
    """The case with the injection time that headers, table or command line give for its delayed series."""
    if not isinstance(case, DicomCase):
        return case
    baseline, delayed = (
        summarise([instance.header for instance in index.series[series.series_uid]])
        for series in (case.baseline, case.delayed)
    )
    return replace(case, injection_time=injection_time_for(delayed, baseline, times))


def _index(sources: tuple[Path, ...], seen: _Seen, on_file: Callable[[], None]) -> Index:
    def count() -> None:
        seen.files += 1
        on_file()

    index = build_index(find_files(sources), on_file=count)
    seen.add(index)
    return index


def _once(cases: list[BatchCase]) -> tuple[BatchCase, ...]:
    """Every case once, though a table may have it in two rows.

    Raises
    ------
    UsageError
        Two different ones would write one folder.
    """
    found: dict[str, BatchCase] = {}
    for case in cases:
        if found.setdefault(case.case_id, case) != case:
            raise UsageError(
                f"two different cases would be called {case.case_id}, as one pair with two injection times is; "
                "accepted: a name for each in the column 'case' of the table"
            )
    return tuple(found.values())
