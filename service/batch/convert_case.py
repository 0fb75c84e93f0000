"""One case of a batch: read its files, convert, write its folder. Runs in the batch's process or a worker's."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from service.batch.bids.case_files import clear_case, is_complete, write_case
from service.batch.bids.target import BidsTarget
from service.batch.cases import BatchCase, DicomCase, NiftiCase, RefusedCase, notes_of
from service.batch.nifti import read_nifti, write_nifti
from service.cases import CaseOutcome
from service.conversion import Conversion, Converter
from service.errors import Csf24Error, InputRefused, Reason
from service.imaging.volume import Volume
from service.pipeline import VolumePair
from service.received_pair import DicomPair
from service.report import CaseFacts, Json, SeriesFacts, bare_report, series_report
from service.result_files import PAGE_NAME, PREVIEW_NAME, REPORT_NAME, RESULT_FOLDERS, write_report, write_result

_log = structlog.get_logger()
_PLANE_NAMES = ("sagittal", "axial")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What holds for every case of a batch.

    Attributes
    ----------
    settings
        Names model, version and settings; a folder made under others is made anew.
    now
        Aware; dates the objects.
    bids
        The BIDS dataset to write as well; one that is there and not asked for stays as it is.
    """

    out: Path
    settings: str
    software_version: str
    now: datetime
    bids: BidsTarget | None = None


def request_key(case: BatchCase, request: BatchRequest) -> str:
    """Digest of all that decides a case's result; a folder whose report has it is up to date."""
    facts: dict[str, Any] = {"case": case.case_id, "settings": request.settings}
    if isinstance(case, DicomCase):
        facts["instances"] = [case.baseline.sha256, case.delayed.sha256]
        facts["injection"] = case.injection_time.isoformat() if case.injection_time else ""
    elif isinstance(case, NiftiCase):
        facts["files"] = [_file_stamp(case.baseline.path), _file_stamp(case.delayed.path)]
        facts["hours"] = case.hours_after_injection
    else:
        facts["reasons"] = [(reason.code, reason.message) for reason in case.reasons]
        facts["series"] = repr(notes_of(case))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def finished_report(case: BatchCase, request: BatchRequest) -> Json | None:
    """The report of an earlier run for the same request, unless that run failed or some of what is wanted is gone."""
    directory = request.out / case.case_id
    try:
        report: Json = json.loads((directory / REPORT_NAME).read_text(encoding="utf-8"))
        same = report["request"] == request_key(case, request) and report["outcome"] != CaseOutcome.FAILED.value
        whole = all((directory / name).is_file() for name in report["outputs"])
        whole = whole and (request.bids is None or is_complete(request.bids, case, report))
    except (OSError, ValueError, LookupError, TypeError):  # none yet, or not one of ours
        return None
    return report if same and whole else None


def convert_case(case: DicomCase | NiftiCase, request: BatchRequest, converter: Converter) -> Json:
    """Convert and write ``<out>/<case id>/``; the report. Nothing that happens to one case ends the batch."""
    directory = request.out / case.case_id
    try:
        _clear(directory, case, request)
        directory.mkdir(parents=True, exist_ok=True)
        conversion, outputs = _convert(case, request, converter, directory)
        report = {**conversion.report, "request": request_key(case, request)}
        if request.bids is not None:
            report["bids"] = write_case(request.bids, case, report, conversion.course)
        conversion = replace(conversion, report=report)
        return write_result(conversion, directory, further=outputs).report
    except InputRefused as refusal:
        outcome, reasons = CaseOutcome.REFUSED, refusal.reasons
    except Csf24Error as fault:
        outcome, reasons = _failed("CONVERSION_FAILED", str(fault))
    except OSError as fault:
        outcome, reasons = _failed(
            "FILE_FAULT",
            f"a file could not be read or written ({fault.strerror or type(fault).__name__}); "
            "make sure that the sources are there and that the disk has room, and convert again",
        )
    except Exception as fault:  # noqa: BLE001 - border of a case: a bug fails it, and the batch goes on
        _log.exception("unexpected error", case_id=case.case_id)
        text = f"an unexpected {type(fault).__name__} ended the conversion; the log has the place"
        outcome, reasons = _failed("INTERNAL_ERROR", text)
    return write_bare(case, request, outcome, reasons)


def write_refused(case: RefusedCase, request: BatchRequest) -> Json:
    """Report of series that are no pair; nothing is to be converted."""
    return write_bare(case, request, CaseOutcome.REFUSED, case.reasons)


def write_died(case: BatchCase, request: BatchRequest, message: str) -> Json:
    """Report of a case that ended its worker process."""
    return write_bare(case, request, *_failed("WORKER_DIED", message))


def write_bare(case: BatchCase, request: BatchRequest, outcome: CaseOutcome, reasons: tuple[Reason, ...]) -> Json:
    """Report of a case without a conversion, as its folder's only file."""
    baseline, delayed, others = notes_of(case)
    report = bare_report(
        case.case_id,
        outcome,
        reasons,
        request.software_version,
        baseline=baseline.facts if baseline else None,
        delayed=delayed.facts if delayed else None,
        injection_time=case.injection_time if isinstance(case, DicomCase) else None,
        hours_after_injection=case.hours_after_injection if isinstance(case, NiftiCase) else None,
    )
    report |= {
        "other_series": [series_report(note.facts) for note in others if note.facts],
        "request": request_key(case, request),
    }
    directory = request.out / case.case_id
    try:
        _clear(directory, case, request)
        if request.bids is not None:
            report["bids"] = write_case(request.bids, case, report, None)
        write_report(report, directory)
    except OSError as fault:
        # The summary still has it, and without a file the next run takes the case up again.
        _log.error("a report cannot be written", case_id=case.case_id, fault=fault.strerror)
        unwritten = _failed("FILE_FAULT", f"the case's folder cannot be written ({fault.strerror})")[1]
        failed = bare_report(case.case_id, CaseOutcome.FAILED, (*reasons, *unwritten), request.software_version)
        report |= {"outcome": failed["outcome"], "reasons": failed["reasons"]}
    return report


def _failed(code: str, message: str) -> tuple[CaseOutcome, tuple[Reason, ...]]:
    return CaseOutcome.FAILED, (Reason(code=code, message=message),)


def _convert(
    case: DicomCase | NiftiCase, request: BatchRequest, converter: Converter, directory: Path
) -> tuple[Conversion, tuple[str, ...]]:
    if isinstance(case, NiftiCase):
        return _convert_nifti(case, request, converter, directory)
    pair = DicomPair(
        case_id=case.case_id,
        baseline=[source.read() for source in case.baseline.files],
        delayed=[source.read() for source in case.delayed.files],
        injection_time=case.injection_time,
        derived_at=request.now,
    )
    return converter.convert_dicom(pair), ()


def _convert_nifti(
    case: NiftiCase, request: BatchRequest, converter: Converter, directory: Path
) -> tuple[Conversion, tuple[str, ...]]:
    pair = VolumePair(baseline=read_nifti(case.baseline), delayed=read_nifti(case.delayed))
    facts = CaseFacts(
        case_id=case.case_id,
        baseline=_facts(pair.baseline),
        delayed=_facts(pair.delayed),
        injection_time=None,
        hours_after_injection=case.hours_after_injection,
        software_version=request.software_version,
    )
    conversion = converter.convert_volumes(facts, pair, case.reasons, made_at=request.now)
    restored = conversion.course.restored if conversion.course else None
    names = []
    for number, volume in enumerate(restored.predicted if restored else ()):
        single = restored is not None and len(restored.predicted) == 1
        name = "predicted.nii.gz" if single else f"predicted-{_PLANE_NAMES[number]}.nii.gz"
        write_nifti(volume, directory / name)
        names.append(name)
    return conversion, tuple(names)


def _facts(volume: Volume) -> SeriesFacts:
    """Of an image that is not DICOM: its planes stand for instances."""
    return SeriesFacts(series_instance_uid="", study_instance_uid="", acquired_at=None, instances=len(volume.array))


def _clear(directory: Path, case: BatchCase, request: BatchRequest) -> None:
    """Remove what an earlier run made, the report first: without it the folder counts as unfinished."""
    for name in (REPORT_NAME, PREVIEW_NAME, PAGE_NAME):
        (directory / name).unlink(missing_ok=True)
    for pattern in ("predicted*.nii.gz", ".predicted*.nii.gz"):
        for path in directory.glob(pattern):
            path.unlink()
    for folder in RESULT_FOLDERS:
        if (directory / folder).exists():
            shutil.rmtree(directory / folder)
    if request.bids is not None:
        clear_case(request.bids, case)


def _file_stamp(path: Path) -> Sequence[object]:
    try:
        status = path.stat()
    except OSError:
        return (str(path),)
    return (str(path), status.st_size, status.st_mtime_ns)
