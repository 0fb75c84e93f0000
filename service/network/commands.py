"""Command sets of DIMSE messages: implicit VR little endian elements of group 0000 (PS3.7 6.3 and annex E).

Written here, and not left to the library, because each of thousands of images comes with one and goes with another,
and the library makes a data set, a message and a primitive of each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

# Element numbers of group 0000, PS3.7 table E.1-1
AFFECTED_SOP_CLASS, REQUESTED_SOP_CLASS = 0x0002, 0x0003
COMMAND_FIELD, MESSAGE_ID, RESPONDED_TO = 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS = 0x0800, 0x0900
AFFECTED_SOP_INSTANCE, REQUESTED_SOP_INSTANCE = 0x1000, 0x1001
EVENT_TYPE, ACTION_TYPE = 0x1002, 0x1008
_GROUP_LENGTH = 0x0000

# Command Field (0000,0100)
C_STORE_RQ, C_FIND_RQ, C_ECHO_RQ = 0x0001, 0x0020, 0x0030
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000
"""Bit of the command field that tells a response from a request."""
NO_DATA_SET = 0x0101
_SOME_DATA_SET = 0x0001
_ELEMENT = struct.Struct("<HHI")


class MalformedCommand(ValueError):
    """A command set that cannot be read, or lacks what it must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set as it came: element number to value."""

    elements: Mapping[int, bytes]

    @property
    def field(self) -> int:
        """Command Field (0000,0100)."""
        return self.number(COMMAND_FIELD)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number(DATA_SET_TYPE) != NO_DATA_SET

    def number(self, element: int) -> int:
        """An element of VR US.

        Raises
        ------
        MalformedCommand
            It is missing, or has another length.
        """
        value = self.elements.get(element, b"")
        if len(value) != 2:
            raise MalformedCommand(f"(0000,{element:04X}) is missing or no number")
        return int.from_bytes(value, "little")

    def uid(self, element: int) -> str:
        """An element of VR UI, without padding; empty when it is missing."""
        return self.elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def decode_command(content: bytes) -> Command:
    """Read a command set.

    Raises
    ------
    MalformedCommand
        It is not one.
    """
    elements: dict[int, bytes] = {}
    at, end = 0, len(content)
    while at < end:
        if end - at < _ELEMENT.size:
            raise MalformedCommand("the command set is cut short")
        group, element, length = _ELEMENT.unpack_from(content, at)
        at += _ELEMENT.size
        if group != 0 or length > end - at:
            raise MalformedCommand("the command set has an element of another group, or longer than itself")
        elements[element] = content[at : at + length]
        at += length
    return Command(elements=elements)


def encode_command(values: Mapping[int, int | str], *, has_data_set: bool) -> bytes:
    """A command set with its group length; numbers are of VR US, texts of VR UI."""
    all_values = {**values, DATA_SET_TYPE: _SOME_DATA_SET if has_data_set else NO_DATA_SET}
    body = b"".join(_element(number, _value(all_values[number])) for number in sorted(all_values))
    return _element(_GROUP_LENGTH, len(body).to_bytes(4, "little")) + body


def _value(value: int | str) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(2, "little")
    encoded = value.encode("ascii")
    return encoded + b"\0" * (len(encoded) % 2)


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, number, len(value)) + value
