"""Identifiers that the ledger derives: stable, and without patient data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from service.dicom.records import InstanceHeader

_CASE_ID_DIGITS = 12


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def case_id_for(baseline_series_uid: str, delayed_series_uid: str) -> str:
    """Id of the case of this pair: ``c`` and 12 hexadecimal digits; the same pair gives the same id."""
    return "c" + _digest("pair", baseline_series_uid, delayed_series_uid)[:_CASE_ID_DIGITS]


def held_case_id(patient_key: str, series_uids: Iterable[str]) -> str:
    """Id of a held case whose pair is not decided: stable for the same patient and series, in any order."""
    return "c" + _digest("held", patient_key, *sorted(series_uids))[:_CASE_ID_DIGITS]


def patient_key_of(header: InstanceHeader) -> str:
    """Key under which series are looked at together: a hash of Patient ID (0010,0020) alone.

    Issuer and birth date are left out on purpose, so that pairing sees series which differ only
    there and can say so. Without a Patient ID a study stands for itself.
    """
    patient_id = header.patient_id.strip()
    return _digest("patient", patient_id) if patient_id else _digest("study", header.study_instance_uid)
