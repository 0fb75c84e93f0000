"""DIMSE statuses by name, with the clause that defines each."""

from __future__ import annotations

SUCCESS = 0x0000  # PS3.7 C.1.1

# C-STORE, PS3.4 table B.2-1
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
# PS3.7 9.1.1.1.9
SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211

# General, PS3.7 C.4 and C.5
PROCESSING_FAILURE = 0x0110  # C.5.21
DUPLICATE_SOP_INSTANCE = 0x0111  # C.5.6
NO_SUCH_EVENT_TYPE = 0x0113  # C.5.18
INVALID_ARGUMENT_VALUE = 0x0115  # C.5.10
INVALID_SOP_INSTANCE = 0x0117  # C.5.12: the UID breaks the rules for UIDs
NO_SUCH_ACTION = 0x0123  # C.5.13

MOVE_DESTINATION_UNKNOWN = 0xA801  # C-MOVE, PS3.4 table C.4-2
PENDING = (0xFF00, 0xFF01)  # C-FIND, PS3.4 table C.4-1
_WARNINGS = (0x0001, 0x0107, 0x0116)  # PS3.7 C.1.3 and C.4
_WARNING_RANGE = 0xB000  # PS3.7 C.1.3: Bxxx

# Failure Reason (0008,1197) of a storage commitment, PS3.3 C.14.1.1
COMMITMENT_PROCESSING_FAILURE = 0x0110
COMMITMENT_NO_SUCH_INSTANCE = 0x0112


def is_warning(status: int) -> bool:
    """Stored, with a remark (PS3.7 C.1.3)."""
    return status in _WARNINGS or status & 0xF000 == _WARNING_RANGE


def is_accepted(status: int) -> bool:
    """Whether a C-STORE response means that the peer has the instance.

    Duplicate SOP Instance counts: our UIDs are derived from the content, so the same UID is the same object.
    """
    return status in (SUCCESS, DUPLICATE_SOP_INSTANCE) or is_warning(status)


def spell(status: int) -> str:
    """E.g. ``0xA700``."""
    return f"0x{status:04X}"
