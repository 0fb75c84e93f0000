"""DICOM Part 10 file framing: preamble and file meta information around a data set kept as received."""

from __future__ import annotations

import struct
from dataclasses import dataclass

IMPLEMENTATION_CLASS_UID = "2.25.35906435905604950468780962030058457109"
"""Root 2.25 needs no registration (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME = "CSF24_1"
_PREAMBLE = b"\0" * 128 + b"DICM"
_LONG_LENGTH_VRS = (b"OB", b"OW", b"UN", b"SQ", b"UT")  # 2 reserved bytes + 32-bit length (PS3.5 7.1.2)
_AE_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """The file meta elements that csf24 writes and reads back (PS3.10 7.1).

    Attributes
    ----------
    calling_ae
        Source Application Entity Title (0002,0016); empty where the file has none.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str


def _element(element: int, vr: bytes, value: bytes, pad: bytes) -> bytes:
    value += pad * (len(value) % 2)
    head = struct.pack("<HH", 0x0002, element) + vr
    if vr in _LONG_LENGTH_VRS:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _ae_bytes(title: str) -> bytes:
    """An AE value: at most 16 printable ASCII characters without backslash (PS3.5 6.2)."""
    kept = "".join(c if " " <= c <= "~" and c != "\\" else "_" for c in title)
    return kept.encode("ascii")[:_AE_LENGTH]


def encode_head(meta: FileMeta) -> bytes:
    """Preamble, prefix and file meta information; the data set follows unchanged.

    The same `meta` always gives the same bytes.
    """
    body = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1", b"\0"),
            _element(0x0002, b"UI", meta.sop_class_uid.encode("ascii"), b"\0"),
            _element(0x0003, b"UI", meta.sop_instance_uid.encode("ascii"), b"\0"),
            _element(0x0010, b"UI", meta.transfer_syntax_uid.encode("ascii"), b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii"), b"\0"),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" "),
            _element(0x0016, b"AE", _ae_bytes(meta.calling_ae), b" "),
        )
    )
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<I", len(body)), b"") + body


def split_file(content: bytes) -> tuple[FileMeta, int]:
    """The file meta of a Part 10 file and the offset at which its data set starts.

    Raises
    ------
    ValueError
        Not a Part 10 file, or its meta information is cut short.
    """
    if content[128:132] != _PREAMBLE[128:]:
        raise ValueError("not a DICOM Part 10 file: no DICM prefix")
    values: dict[int, bytes] = {}
    position = 132
    while position + 8 <= len(content):
        group, element = struct.unpack_from("<HH", content, position)
        if group != 0x0002:
            break
        vr = content[position + 4 : position + 6]
        if vr in _LONG_LENGTH_VRS:
            if position + 12 > len(content):
                raise ValueError("file meta information is cut short")
            (length,) = struct.unpack_from("<I", content, position + 8)
            start = position + 12
        else:
            (length,) = struct.unpack_from("<H", content, position + 6)
            start = position + 8
        if start + length > len(content):
            raise ValueError("file meta information is cut short")
        values[element] = content[start : start + length]
        position = start + length

    def text(element: int) -> str:
        return values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")

    if not (text(0x0002) and text(0x0003) and text(0x0010)):
        raise ValueError("file meta information lacks SOP class, SOP instance or transfer syntax")
    meta = FileMeta(
        sop_class_uid=text(0x0002),
        sop_instance_uid=text(0x0003),
        transfer_syntax_uid=text(0x0010),
        calling_ae=text(0x0016),
    )
    return meta, position
