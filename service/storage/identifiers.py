"""Identifiers that the ledger derives: stable, and without patient data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from service.cases import digest_id
from service.dicom.records import InstanceHeader


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def held_case_id(patient_key: str, series_uids: Iterable[str]) -> str:
    """Id of a held case whose pair is not decided: stable for the same patient and series, in any order."""
    return digest_id("held", patient_key, *sorted(series_uids))


def patient_key_of(header: InstanceHeader) -> str:
    """Key under which series are looked at together: a hash of Patient ID (0010,0020) alone.

    Issuer and birth date are left out on purpose, so that pairing sees series which differ only
    there and can say so. Without a Patient ID a study stands for itself.
    """
    patient_id = header.patient_id.strip()
    return _digest("patient", patient_id) if patient_id else _digest("study", header.study_instance_uid)
