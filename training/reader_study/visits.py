"""A patient of a study: three DICOM series in three folders, checked to be of one person and in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from service.dicom.headers import parse_header
from service.dicom.selection import Faulty, NotOfInterest, assess_series
from service.dicom.series import SourceSeries
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series_from_bytes
from service.errors import InputRefused, Reason, UsageError

VISITS = ("baseline", "delayed", "late")
_LATE_H = (18.0, 30.0)  # after the delayed scan; '24 h' scans are made the next day, hours of the day vary


def find_patients(cohort: Path) -> dict[str, Path]:
    """Name -> folder of every patient, by name; a folder is one when it has a folder for each visit.

    Raises
    ------
    UsageError
        There is none.
    """
    found = {
        folder.name: folder
        for folder in sorted(cohort.iterdir())
        if folder.is_dir() and all((folder / visit).is_dir() for visit in VISITS)
    }
    if not found:
        raise UsageError(
            f"{cohort} has no patient: give a folder with a folder for each patient, and in it the folders "
            f"{', '.join(VISITS)} with one DICOM series each, as `csf24-training simulate --format dicom` writes them"
        )
    return found


def read_visits(folder: Path) -> dict[str, SourceSeries]:
    """The three series of a patient.

    Raises
    ------
    InputRefused
        A series cannot be read or is no 3D T1 head series; PATIENT_MISMATCH; VISITS_OUT_OF_ORDER, as far as the
        headers state times.
    """
    visits = {visit: _read(folder / visit, visit) for visit in VISITS}
    headers = [series.summary.header for series in visits.values()]
    if len({(h.patient_id, h.issuer_of_patient_id, h.patient_birth_date) for h in headers}) > 1:
        raise _refused("PATIENT_MISMATCH", "The three series name different patients; correct the folders.")
    if len({h.series_instance_uid for h in headers}) < len(VISITS):
        raise _refused("SAME_SERIES", "One series lies in two of the folders; give a series for each visit.")
    _check_times({visit: series.summary.acquired_at for visit, series in visits.items()})
    return visits


def is_simulated(visits: Mapping[str, SourceSeries]) -> bool:
    """Whether any of the series says that it is."""
    said = ("SeriesDescription", "StudyDescription", "ImageComments")
    return any("SIMULATED" in str(s.template.get(k, "")).upper() for s in visits.values() for k in said)


def _read(folder: Path, visit: str) -> SourceSeries:
    contents = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    summary = summarise([parse_header(content) for content in contents])
    verdict = assess_series(summary)
    if isinstance(verdict, Faulty):
        raise InputRefused(*verdict.reasons)
    if isinstance(verdict, NotOfInterest):
        raise _refused("NOT_A_T1_HEAD_SERIES", f"The {visit} series cannot be used: {verdict.reason.message}")
    return read_series_from_bytes(contents, summary)


def _check_times(times: Mapping[str, datetime | None]) -> None:
    stated = [time.replace(tzinfo=None) for visit in VISITS if (time := times[visit]) is not None]
    if stated != sorted(stated):
        raise _refused("VISITS_OUT_OF_ORDER", "Baseline, delayed and 24 h series were not acquired in this order.")
    delayed, late = times["delayed"], times["late"]
    if delayed is None or late is None:
        return
    hours = (late.replace(tzinfo=None) - delayed.replace(tzinfo=None)).total_seconds() / 3600
    if not _LATE_H[0] <= hours <= _LATE_H[1]:
        raise InputRefused(
            Reason(
                code="VISITS_OUT_OF_ORDER",
                message="The late series is not the one of 24 h; give that one.",
                measured=round(hours, 1),
                limit=f"{_LATE_H[0]:g} to {_LATE_H[1]:g} h after the delayed series",
            )
        )


def _refused(code: str, message: str) -> InputRefused:
    return InputRefused(Reason(code=code, message=message))
