"""Who made a derived object, and UIDs and numbers that come out the same on every retry."""

from __future__ import annotations

import json
import uuid

from pydicom.dataset import Dataset

from service.dicom.coding import PROCESSING_EQUIPMENT, code_item
from service.dicom.facts import DerivationFacts

MANUFACTURER = "csf24"
SIMULATOR = "csf24 simulator"
"""Manufacturer (0008,0070) of simulated patients; what it made is never shown as a patient's."""
SERIES_NUMBER_OFFSET = 9000
"""Above what scanners count to, so that a viewer lists derived series after the acquired ones."""

ROLES = (
    *("secondary-capture", "mr-image", "parametric-map", "structured-report", "refusal-notice"),
    "encapsulated-pdf",
)
"""Kinds of derived series; the position is the last digit of the series number."""

IMPLEMENTATION_CLASS_UID = f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'urn:csf24:implementation').int}"
IMPLEMENTATION_VERSION_NAME = "CSF24"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:csf24:derived-objects")
_LARGEST_SOURCE_NUMBER = 99_999_999  # ten times that still fits an IS of 32 bits
_LO_LENGTH = 64


def derived_uid(facts: DerivationFacts, baseline_series_uid: str, delayed_series_uid: str, *parts: str) -> str:
    """A UID under 2.25 (ITU-T X.667) that depends on nothing but its inputs.

    Parameters
    ----------
    parts
        What the object is within the case, e.g. its role and number.
    """
    name = json.dumps([facts.fingerprint, baseline_series_uid, delayed_series_uid, *parts])
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def series_number(source_number: int | None, role: str) -> int:
    """Series Number (0020,0011): 9000 + 10 x the source's number + a digit for the role.

    Distinct sources give distinct numbers, and every one sorts after its source.
    """
    known = source_number is not None and 0 <= source_number <= _LARGEST_SOURCE_NUMBER
    return SERIES_NUMBER_OFFSET + 10 * (source_number if known and source_number else 0) + ROLES.index(role)


def software_versions(facts: DerivationFacts) -> list[str]:
    """Software Versions (0018,1020): the software, the hash of the model's file, and the model.

    The hash fills a value to its last letter, so it is not the last: there an odd length is padded, which counts.
    """
    model = facts.model
    return [
        f"csf24 {facts.software_version}"[:_LO_LENGTH],
        model.sha256[:_LO_LENGTH],
        f"{model.name} {model.version}"[: _LO_LENGTH - 1],
    ]


def set_equipment(dataset: Dataset, facts: DerivationFacts) -> None:
    """General Equipment (PS3.3 C.7.5.1) of the software that made `dataset`.

    The scanner did not make it, so its name goes into Contributing Equipment only.
    """
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = f"csf24 {facts.model.name}"[:_LO_LENGTH]
    dataset.SoftwareVersions = software_versions(facts)
    dataset.DeviceSerialNumber = facts.software_version[:_LO_LENGTH]  # type 1 for parametric maps; software has none


def processing_equipment(facts: DerivationFacts) -> Dataset:
    """Item of Contributing Equipment Sequence (0018,A001) with the model; says nothing of the station.

    The purpose is (109102, DCM, "Processing Equipment") of CID 7005, as IHE AI Results reads it.
    """
    model = facts.model
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model.name[:_LO_LENGTH]
    item.SoftwareVersions = software_versions(facts)
    trained = " Trained on SIMULATED tracer." if model.simulated_training else ""
    item.ContributionDescription = (
        f"Predicted by model {model.name} {model.version}, normalisation {model.mode}, sha256 {model.sha256}.{trained}"
    )
    return item
