"""InstanceHeader <-> JSON text for the ledger's column."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, get_type_hints

from service.dicom.records import InstanceHeader

_HINTS = get_type_hints(InstanceHeader)
_TUPLES = frozenset(name for name, hint in _HINTS.items() if "tuple" in str(hint))
_DATETIMES = frozenset(name for name, hint in _HINTS.items() if "datetime" in str(hint))


def header_to_json(header: InstanceHeader) -> str:
    """JSON object with one member per field; datetimes as ISO 8601 with their offset if they have one."""
    values = {name: getattr(header, name) for name in _HINTS}  # flat, so there is nothing to copy
    for name in _DATETIMES:
        if values[name] is not None:
            values[name] = values[name].isoformat()
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def header_from_json(text: str) -> InstanceHeader:
    """The exact header that `header_to_json` was given; what an earlier version did not know has its default.

    Raises
    ------
    ValueError
        The text does not describe an `InstanceHeader` of this version.
    """
    values: dict[str, Any] = json.loads(text)
    known = {field.name for field in fields(InstanceHeader)}
    needed = {field.name for field in fields(InstanceHeader) if field.default is MISSING}
    if not needed <= set(values) <= known:
        raise ValueError(f"stored header differs in fields: {sorted(needed - set(values) | set(values) - known)}")
    for name in _TUPLES:
        if values[name] is not None:
            values[name] = tuple(values[name])
    for name in _DATETIMES:
        if values[name] is not None:
            values[name] = datetime.fromisoformat(values[name])
    return InstanceHeader(**values)
