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

from service.batch.cases import BatchCase, DicomCase, NiftiCase, RefusedCase
from service.batch.nifti import read_nifti, write_nifti
from service.cases import CaseOutcome
from service.conversion import Conversion, Converter
from service.errors import Csf24Error, InputRefused, Reason
from service.imaging.volume import Volume
from service.pipeline import VolumePair
from service.received_pair import DicomPair
from service.report import CaseFacts, Json, SeriesFacts, bare_report
from service.result_files import PREVIEW_NAME, REPORT_NAME, write_conversion, write_report

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
    """

    out: Path
    settings: str
    software_version: str
    now: datetime


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
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def finished_report(case: BatchCase, request: BatchRequest) -> Json | None:
    """The report of an earlier run for the same request, unless that run failed."""
    try:
        report: Json = json.loads((request.out / case.case_id / REPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = report.get("request") == request_key(case, request)
    return report if same and report.get("outcome") != CaseOutcome.FAILED.value else None


def convert_case(case: BatchCase, request: BatchRequest, converter: Converter) -> Json:
    """Convert and write ``<out>/<case id>/``; the report. Nothing that happens to one case ends the batch."""
    directory = request.out / case.case_id
    _clear(directory)
    try:
        if isinstance(case, RefusedCase):
            report = bare_report(case.case_id, CaseOutcome.REFUSED, case.reasons, request.software_version)
            return _finish(report, case, request)
        conversion, outputs = _convert(case, request, converter, directory)
        conversion = replace(conversion, report=_with_request(conversion.report, case, request))
        write_conversion(conversion, directory, further=outputs)
        return conversion.report
    except InputRefused as refusal:
        report = bare_report(case.case_id, CaseOutcome.REFUSED, refusal.reasons, request.software_version)
    except Csf24Error as fault:
        report = failed_case(case, request, "CONVERSION_FAILED", str(fault))
    except Exception as fault:  # noqa: BLE001 - border of a case: a bug fails it, and the batch goes on
        _log.exception("unexpected error", case_id=case.case_id)
        text = f"an unexpected {type(fault).__name__} ended the conversion; the log has the place"
        report = failed_case(case, request, "INTERNAL_ERROR", text)
    _clear(directory)
    return _finish(report, case, request)


def failed_case(case: BatchCase, request: BatchRequest, code: str, message: str) -> Json:
    """Report of a case that a fault of ours ended."""
    reason = Reason(code=code, message=message)
    return bare_report(case.case_id, CaseOutcome.FAILED, (reason,), request.software_version)


def write_failed_case(case: BatchCase, request: BatchRequest, code: str, message: str) -> Json:
    """The same, written to the case's folder."""
    _clear(request.out / case.case_id)
    return _finish(failed_case(case, request, code, message), case, request)


def _convert(
    case: DicomCase | NiftiCase, request: BatchRequest, converter: Converter, directory: Path
) -> tuple[Conversion, tuple[str, ...]]:
    directory.mkdir(parents=True, exist_ok=True)
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
    conversion = converter.convert_volumes(facts, pair)
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


def _finish(report: Json, case: BatchCase, request: BatchRequest) -> Json:
    report = _with_request(report, case, request)
    write_report(report, request.out / case.case_id)
    return report


def _with_request(report: Json, case: BatchCase, request: BatchRequest) -> Json:
    return {**report, "request": request_key(case, request)}


def _clear(directory: Path) -> None:
    """Remove what an earlier run made, the report first: without it the folder counts as unfinished."""
    for name in (REPORT_NAME, PREVIEW_NAME):
        (directory / name).unlink(missing_ok=True)
    for path in directory.glob("predicted*.nii.gz"):
        path.unlink()
    for name in ("predicted", "refusal"):
        shutil.rmtree(directory / name, ignore_errors=True)


def _file_stamp(path: Path) -> Sequence[object]:
    try:
        status = path.stat()
    except OSError:
        return (str(path),)
    return (str(path), status.st_size, status.st_mtime_ns)


def places(case: BatchCase) -> tuple[str, str]:
    """Where the two series lie, for the summary."""
    if isinstance(case, DicomCase):
        return case.baseline.place, case.delayed.place
    if isinstance(case, NiftiCase):
        return str(case.baseline.path), str(case.delayed.path)
    first, second = (*case.places, "", "")[:2]
    return first, second
