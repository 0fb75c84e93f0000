"""Reads single values out of data sets that may be malformed: what cannot be understood counts as absent."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from numbers import Real
from typing import cast

import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

# pydicom's warnings about values that break their VR quote the value, which may be a name or a date of birth
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

_DECIMAL = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?")
_DATE_TIME = re.compile(r"(\d{8})(\d{4}(?:\d{2}(?:\.\d{1,6})?)?)([+-]\d{4})?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_EARLIEST_YEAR, _LATEST_YEAR = 1900, 2200  # outside lie placeholders such as 00010101
_LAST_CREATOR = 0xFF  # PS3.5 7.8.1
_LARGEST_INTEGER = 2**31 - 1  # of the VRs IS and SL; PS3.5 table 6.2-1


def value_of(dataset: Dataset, keyword: str) -> object | None:
    """The value as pydicom converts it; None when absent, empty or not convertible."""
    tag = _tag(keyword)
    if tag not in dataset.keys():  # noqa: SIM118 - the data set itself makes a Tag of it first, and half of what is asked for is absent
        return None
    try:
        return cast(object, dataset[tag].value)
    except Exception:  # noqa: BLE001 - pydicom raises no closed set of exceptions on values that break their VR
        return None


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return BaseTag(tag)


def is_stated(dataset: Dataset, keyword: str) -> bool:
    """Whether there is a value, convertible or not."""
    return keyword in dataset and bool(dataset.get_item(keyword).value)


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as text without control characters and outer spaces; empty when absent."""
    value = value_of(dataset, keyword)
    values: Sequence[object] = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    if not all(isinstance(v, str | int | float | PersonName) for v in values):
        return ()
    cleaned = tuple(_CONTROL.sub("", str(v)).strip() for v in values)
    return cleaned if any(cleaned) else ()


def text(dataset: Dataset, keyword: str) -> str:
    r"""One text; several values are joined as they are encoded, by a backslash. Empty when absent."""
    return "\\".join(texts(dataset, keyword))


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, else None."""
    value = value_of(dataset, keyword)
    values: Sequence[object] = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    found = [_finite(v) for v in values]
    if len(found) != count or None in found:
        return None
    return tuple(v for v in found if v is not None)


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number, else None; several values are not one number."""
    found = numbers(dataset, keyword, 1)
    return None if found is None else found[0]


def integer(dataset: Dataset, keyword: str) -> int | None:
    """One whole number that fits 32 bits, else None."""
    found = number(dataset, keyword)
    if found is None or not found.is_integer() or abs(found) > _LARGEST_INTEGER:
        return None
    return int(found)


def private_value(dataset: Dataset, group: int, creator: str, element: int) -> object | None:
    """A value of a private block, found by its creator as PS3.5 section 7.8.1 asks; None when absent."""
    if not any(tag >> 16 == group and tag & 0xFFFF <= _LAST_CREATOR for tag in dataset.keys()):  # noqa: SIM118 - as above
        return None
    try:
        return cast(object, dataset.private_block(group, creator)[element].value)
    except Exception:  # noqa: BLE001 - absent, or a creator or value that breaks its VR
        return None


def private_number(dataset: Dataset, group: int, creator: str, element: int) -> float | None:
    """One finite number of a private block."""
    return _finite(private_value(dataset, group, creator, element))


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty when absent or not a sequence."""
    return items_of(value_of(dataset, keyword))


def items_of(value: object | None) -> list[Dataset]:
    """The items of a sequence's value; empty when it is something else."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return []
    return [item for item in value if isinstance(item, Dataset)]


def first_item(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty data set when there is none."""
    return next(iter(items(dataset, keyword)), Dataset())


def utc_offset(dataset: Dataset) -> tzinfo | None:
    """Timezone Offset From UTC (0008,0201)."""
    return _zone(text(dataset, "TimezoneOffsetFromUTC"))


def date_time(dataset: Dataset, keyword: str, zone: tzinfo | None) -> datetime | None:
    """A DT to at least the minute; its own offset wins over `zone`."""
    match = _DATE_TIME.fullmatch(text(dataset, keyword))
    if match is None:
        return None
    return _combine(match[1], match[2], _zone(match[3] or "") or zone)


def date_and_time(dataset: Dataset, date_keyword: str, time_keyword: str, zone: tzinfo | None) -> datetime | None:
    """A DA with the TM that belongs to it, to at least the minute; ACR-NEMA's dots and colons are read."""
    return _combine(text(dataset, date_keyword), text(dataset, time_keyword), zone)


def time_of_day(dataset: Dataset, keyword: str) -> time | None:
    """A TM to at least the minute."""
    return _time(text(dataset, keyword))


def _finite(value: object) -> float | None:
    if not isinstance(value, Real) and not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _zone(offset: str) -> tzinfo | None:
    match = _OFFSET.fullmatch(offset)
    if match is None:
        return None
    minutes = (int(match[2]) * 60 + int(match[3])) * (-1 if match[1] == "-" else 1)
    if abs(minutes) > 14 * 60:  # the range of PS3.3 C.12.1.1.8
        return None
    return timezone(timedelta(minutes=minutes)) if minutes else UTC


def _time(clock: str) -> time | None:
    match = _TIME.fullmatch(clock)
    if match is None:
        return None
    second = min(int(match[3] or 0), 59)  # DICOM has leap seconds
    try:
        return time(int(match[1]), int(match[2]), second, int((match[4] or "").ljust(6, "0")))
    except ValueError:
        return None


def _combine(day: str, clock: str, zone: tzinfo | None) -> datetime | None:
    match, at = _DATE.fullmatch(day), _time(clock)
    if match is None or at is None or not _EARLIEST_YEAR <= int(match[1]) <= _LATEST_YEAR:
        return None
    try:
        return datetime.combine(date(int(match[1]), int(match[2]), int(match[3])), at, tzinfo=zone)
    except ValueError:
        return None
