"""Attributes that a derived object takes over from its source, with malformed values repaired or left out.

Scanners, archives and de-identifiers write values that the standard does not allow; a writer that passes
them on, or falls over them, loses the result. A value that can be read is written the standard's way, one that
cannot is treated as absent. Identifiers are never shortened or changed: the archive matches by them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import TEXT_VR_DELIMS, format_number_as_ds

from service.dicom.header_values import items, texts, utc_offset
from service.errors import InputRefused, Reason

TYPE_2_OF_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): always present, empty where the source has nothing usable."""

OPTIONAL_OF_STUDY = (
    "IssuerOfPatientID",
    "PatientBirthTime",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "InstitutionName",
    "TimezoneOffsetFromUTC",
)

_ISSUERS = ("IssuerOfPatientIDQualifiersSequence", "IssuerOfAccessionNumberSequence")
_ISSUER_PARTS = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")

_UNICODE = "ISO_IR 192"
_LIMITS = {"LO": 64, "SH": 16, "ST": 1024, "LT": 10240, "UT": 10240, "AE": 16}
_IDENTIFIERS = {"PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID"}
_MULTI_VALUED = {"ScanningSequence", "SequenceVariant", "ScanOptions", "SoftwareVersions"}
_SPELLED = {"×": "x", "≤": "<=", "≥": ">=", "±": "+/-", "–": "-", "—": "-", "−": "-", "µ": "u", "°": " deg", "’": "'"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ALLOWED = {
    "PatientSex": {"M", "F", "O"},
    "PatientIdentityRemoved": {"YES", "NO"},
    "PatientPosition": {"HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS", "LFP", "LFS", "RFP", "RFS"},
}


def inherit(target: Dataset, source: Dataset, keywords: Iterable[str], *, always: bool = False) -> None:
    """Copy `keywords` from `source`, repaired; `always` writes an empty value for one that is absent (type 2)."""
    for keyword in keywords:
        repaired = _repaired(keyword, texts(source, keyword))
        if repaired:
            put(target, keyword, repaired if len(repaired) > 1 else repaired[0])
        elif always:
            put(target, keyword, "")


def put(target: Dataset, keyword: str, value: object) -> None:
    """Set an attribute whose value was checked here; pydicom's own check would log the value."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is not a DICOM keyword")
    target[Tag(tag)] = DataElement(Tag(tag), dictionary_VR(tag), value, validation_mode=config.IGNORE)


def patient_and_study(template: Dataset) -> Dataset:
    """The Patient, General Study and Patient Study attributes of `template`, and a character set that holds them.

    Raises
    ------
    InputRefused
        STUDY_UID_MISSING: there is no study to file anything in.
    """
    made = Dataset()
    study = texts(template, "StudyInstanceUID")
    if not study:
        message = "The series has no Study Instance UID (0020,000D), so a result could not be filed; send it complete."
        raise InputRefused(Reason(code="STUDY_UID_MISSING", message=message))
    put(made, "StudyInstanceUID", study[0])
    inherit(made, template, TYPE_2_OF_STUDY, always=True)
    inherit(made, template, OPTIONAL_OF_STUDY)
    for keyword in _ISSUERS:
        item = Dataset()
        for source in items(template, keyword)[:1]:
            inherit(item, source, _ISSUER_PARTS)
        if len(item):
            setattr(made, keyword, [item])
    settle_character_set(made, template)
    return made


def settle_character_set(dataset: Dataset, template: Dataset) -> None:
    """Set Specific Character Set (0008,0005): the template's where it can write every text, else UTF-8.

    The template's comes first, because an archive that has the study in one repertoire may not show another.
    """
    given = texts(template, "SpecificCharacterSet")
    if any(not _writable(text, given) for text in _texts(dataset)):
        given = (_UNICODE,)
    if given and any(given):
        put(dataset, "SpecificCharacterSet", list(given) if len(given) > 1 else given[0])
    elif "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet


def local_time(template: Dataset, moment: datetime) -> datetime:
    """`moment` in the offset that `template` states in (0008,0201) for all its dates; without one, as it is."""
    offset = utc_offset(template)
    return moment if offset is None else moment.astimezone(offset)


def ascii_text(text: str) -> str:
    """`text` in plain ASCII, which every character set can write and every font can draw; for texts of our own."""
    spelled = "".join(_SPELLED.get(letter, letter) for letter in text)
    return unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode("ascii")


def decimal(value: float) -> str:
    """A DS of at most 16 characters, as many digits as fit."""
    return format_number_as_ds(float(value))


def _texts(dataset: Dataset) -> Iterable[str]:
    for element in dataset.iterall():
        if element.VR in ("PN", "LO", "SH", "ST", "LT", "UT", "UC"):
            yield from texts(Dataset({element.tag: element}), element.keyword)


def _writable(text: str, character_set: tuple[str, ...]) -> bool:
    if text.isascii():
        return True
    try:
        encodings = convert_encodings(list(character_set) or [""])
    except (ValueError, LookupError):
        return False
    if not all(any(_encodes(letter, encoding) for encoding in encodings) for letter in set(text)):
        return False  # checked first: pydicom would write question marks
    return bool(decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text)


def _encodes(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _repaired(keyword: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Values that the standard allows for `keyword`; empty when there is nothing usable."""
    vr = dictionary_VR(keyword)
    if keyword in _IDENTIFIERS:
        text = "\\".join(values).strip()
        return (text,) if text else ()
    if keyword not in _MULTI_VALUED and len(values) > 1:
        values = (" ".join(values),) if vr in (*_LIMITS, "PN") else values[:1]
    repair = _REPAIRS.get(keyword) or _REPAIRS.get(vr) or _text(_LIMITS.get(vr, 64))
    repaired = (repair(value) for value in values)
    allowed = _ALLOWED.get(keyword)
    return tuple(value for value in repaired if value and (allowed is None or value in allowed))


def _text(limit: int) -> Callable[[str], str]:
    return lambda value: _CONTROL.sub(" ", value).replace("\\", "/")[:limit].strip()


def _person_name(value: str) -> str:
    """At most three groups (PS3.5 6.2.1) of at most five components and 64 characters."""
    groups = []
    for group in _CONTROL.sub(" ", value).replace("\\", " ").split("=")[:3]:
        components = group.split("^")
        kept = [*components[:4], " ".join(c for c in components[4:] if c)]
        groups.append("^".join(kept)[:64].rstrip("^ "))
    return "=".join(groups).rstrip("=")


def _code_string(value: str) -> str:
    text = value.upper()
    return text if re.fullmatch(r"[A-Z0-9_ ]{1,16}", text) else ""


def _date(value: str) -> str:
    digits = re.sub(r"[.\-/]", "", value)
    if not re.fullmatch(r"\d{8}", digits):
        return ""
    try:
        datetime.strptime(digits, "%Y%m%d")  # noqa: DTZ007 - a calendar check, no moment in time
    except ValueError:
        return ""
    return digits


def _time(value: str) -> str:
    text = value.replace(":", "")
    valid = re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?)?(?(3)(\.\d{1,6})?)", text)
    return text if valid else ""


def _age(value: str) -> str:
    return value if re.fullmatch(r"\d{3}[DWMY]", value) else ""


def _number(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return ""
    return decimal(number) if math.isfinite(number) else ""


def _integer(value: str) -> str:
    number = _number(value)
    return str(round(float(number))) if number and abs(float(number)) < 2**31 else ""


def _utc_offset(value: str) -> str:
    return value if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", value) and value != "-0000" else ""


_REPAIRS: dict[str, Callable[[str], str]] = {
    "PN": _person_name,
    "CS": _code_string,
    "DA": _date,
    "TM": _time,
    "AS": _age,
    "DS": _number,
    "IS": _integer,
    "TimezoneOffsetFromUTC": _utc_offset,
}
"""By keyword, else by value representation; other texts are cut to their length."""
