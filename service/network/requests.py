"""Association requests as they are judged: who asks, and why one is turned away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

HEADER_LENGTH = 6
"""Of a PDU: type, reserved, length (PS3.8 9.3.1)."""
# PS3.8 table 9-11
_CALLED = slice(HEADER_LENGTH + 4, HEADER_LENGTH + 20)
_CALLING = slice(HEADER_LENGTH + 20, HEADER_LENGTH + 36)
SHORTEST_REQUEST = 68
"""Bytes of an A-ASSOCIATE-RQ behind its header and before its items (PS3.8 table 9-11)."""


class Rejection(Enum):
    """Why an association request is refused."""

    CALLING_AE_TITLE_NOT_RECOGNISED = "calling AE title not recognised"
    CALLING_ADDRESS_NOT_RECOGNISED = "calling address not recognised"
    CALLED_AE_TITLE_NOT_RECOGNISED = "called AE title not recognised"
    TEMPORARY_CONGESTION = "the request could not be judged"
    STORAGE_SHORT = "too little disk space"
    TOO_FREQUENT = "too many requests a minute from this address"
    LOCAL_LIMIT_EXCEEDED = "too many associations"
    PEER_LIMIT_EXCEEDED = "too many associations from this address"
    DAILY_LIMIT_EXCEEDED = "too much data from this address today"

    @property
    def answer(self) -> tuple[int, int, int]:
        """Result, source and diagnostic of PS3.8 table 9-21."""
        return _ANSWERS[self]


_ANSWERS = {
    Rejection.CALLING_AE_TITLE_NOT_RECOGNISED: (1, 1, 3),
    # The standard has no reason for an address; to us the title is known from elsewhere only.
    Rejection.CALLING_ADDRESS_NOT_RECOGNISED: (1, 1, 3),
    Rejection.CALLED_AE_TITLE_NOT_RECOGNISED: (1, 1, 7),
    Rejection.TEMPORARY_CONGESTION: (2, 3, 1),
    Rejection.STORAGE_SHORT: (2, 3, 1),
    Rejection.TOO_FREQUENT: (2, 3, 1),
    Rejection.LOCAL_LIMIT_EXCEEDED: (2, 3, 2),
    Rejection.PEER_LIMIT_EXCEEDED: (2, 3, 2),
    Rejection.DAILY_LIMIT_EXCEEDED: (2, 3, 2),
}


class TurnedAway(Enum):
    """Why a connection ended before it was an association request."""

    TOO_MANY_UNFINISHED = "too many unfinished connections"
    HANDSHAKE_FAILED = "TLS handshake failed"
    SILENT = "no association request in time"
    NOT_DICOM = "not an association request"
    REQUEST_TOO_LONG = "association request too long"


class Excess(Enum):
    """What of an accepted association went beyond a limit."""

    PDU_TOO_LONG = "PDU longer than negotiated"
    INSTANCE_TOO_LARGE = "instance too large"
    ASSOCIATION_TOO_LARGE = "too much data on one association"
    DAILY_LIMIT_EXCEEDED = "too much data from this address today"
    COMMAND_TOO_LARGE = "command set too large"
    STORAGE_SHORT = "too little disk space, or the ledger does not answer"
    MALFORMED = "not to be understood"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequest:
    """What is known of an association before it is accepted."""

    calling_ae: str
    called_ae: str
    calling_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something that was refused: a connection, an association request, an instance.

    Attributes
    ----------
    calling_ae, called_ae
        Empty where the connection did not come so far as to say.
    """

    why: Rejection | TurnedAway | Excess
    address: str
    calling_ae: str = ""
    called_ae: str = ""


OnRefused: TypeAlias = Callable[[Refusal], None]


def parse_request(pdu: bytes, address: str) -> AssociationRequest | None:
    """From a whole A-ASSOCIATE-RQ PDU; None when it is too short, or a title breaks the rules for AE titles.

    PS3.5 table 6.2-1: no control characters, no backslash. What such a title would do in a log is nobody's business.
    """
    if len(pdu) < HEADER_LENGTH + SHORTEST_REQUEST:
        return None
    titles = [_title(pdu[place]) for place in (_CALLING, _CALLED)]
    if None in titles:
        return None
    return AssociationRequest(calling_ae=titles[0] or "", called_ae=titles[1] or "", calling_address=address)


def _title(field: bytes) -> str | None:
    text = field.decode("ascii", "replace").strip(" \0")
    return text if text and text.isascii() and text.isprintable() and "\\" not in text else None
