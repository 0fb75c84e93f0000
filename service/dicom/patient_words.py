"""Whose a result is, in the words of its header: for people who hold it in their hands."""

from __future__ import annotations

from pydicom.dataset import Dataset

from service.dicom.header_values import text
from service.dicom.inherited import patient_and_study

_NOT_STATED = "not stated"


def patient_words(template: Dataset) -> tuple[tuple[str, str], ...]:
    """Names with their values, the patient's name first: as derived objects have them, so repaired where need be.

    Raises
    ------
    InputRefused
        STUDY_UID_MISSING: nothing could be filed with it.
    """
    filed = patient_and_study(template)
    born = _date(text(filed, "PatientBirthDate"))
    described = " ".join(part for part in (_date(text(filed, "StudyDate")), text(filed, "StudyDescription")) if part)
    issuer = text(filed, "IssuerOfPatientID")
    return (
        ("Patient", _name(text(filed, "PatientName")) or _NOT_STATED),
        ("Patient ID", (text(filed, "PatientID") or _NOT_STATED) + (f" (issuer {issuer})" if issuer else "")),
        ("Born, sex", ", ".join(part for part in (born, text(filed, "PatientSex")) if part) or _NOT_STATED),
        ("Accession no.", text(filed, "AccessionNumber") or _NOT_STATED),
        ("Study", described or _NOT_STATED),
    )


def _name(written: str) -> str:
    """Every group of a PN (PS3.5 6.2.1), family name first; ``Yamada^Tarou=山田^太郎`` is Yamada, Tarou = 山田 太郎."""
    groups = []
    for number, group in enumerate(written.split("=")):
        parts = [part.strip() for part in group.split("^")]
        family, others = parts[0], " ".join(part for part in parts[1:] if part)
        joined = (
            (f"{family}, {others}" if number == 0 else f"{family} {others}") if family and others else family or others
        )
        groups.append(joined)
    return " = ".join(group for group in groups if group)


def _date(written: str) -> str:
    """``YYYYMMDD`` with hyphens."""
    return f"{written[:4]}-{written[4:6]}-{written[6:8]}" if len(written) == 8 and written.isdigit() else written
