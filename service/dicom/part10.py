"""Part 10 files as received: are they DICOM, and do they hold pixels; without decoding any."""

from __future__ import annotations

import zlib
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.filereader import read_dataset as read_elements
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from service.dicom import header_values as read
from service.dicom.multiframe import stated_frame_count
from service.errors import InputRefused, Reason
from service.imaging.quality_limits import LIMITS

_PREFIX_AT, _PREFIX = 128, b"DICM"
_SHORT_VRS = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
_LONG_VRS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
_BYTES_PER_VOXEL, _ROOM_FOR_HEADERS = 2, 2**26
_LARGEST_INFLATED = int(LIMITS["MATRIX_TOO_LARGE"].highest) * _BYTES_PER_VOXEL + _ROOM_FOR_HEADERS
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # (7FE0,0010)
_FIRST_PIXEL_TAG = 0x7FE00000
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_dataset(content: bytes) -> Dataset:
    """Parse a whole file: Part 10, or a bare data set that starts like one.

    The result has a transfer syntax in its file meta information, where need be the one found by looking.

    Raises
    ------
    InputRefused
        NOT_DICOM, whatever the bytes.
    """
    has_preamble = content[_PREFIX_AT : _PREFIX_AT + 4] == _PREFIX
    if not has_preamble and not _starts_like_a_dataset(content):
        raise _not_dicom("it has neither the DICM prefix nor starts with a DICOM element")
    try:
        _check_inflated_size(content, _PREFIX_AT + 4 if has_preamble else 0)
        dataset = dcmread(BytesIO(content), force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
        empty = len(dataset) == 0 or (not has_preamble and "SOPClassUID" not in dataset)
    except InputRefused:
        raise
    except Exception as error:  # noqa: BLE001 - no closed set of exceptions; their text may quote the patient's values
        raise _not_dicom(f"reading it fails ({type(error).__name__})") from None
    if empty:
        raise _not_dicom("it holds no SOP Class UID")
    return dataset


def read_before_pixels(encoded: bytes, transfer_syntax_uid: str) -> tuple[Dataset, bool] | None:
    """A data set up to its pixels, and whether those are there in full; nothing of them is copied.

    None unless it is little endian, neither compressed nor deflated, and ends with Pixel Data of a stated length or
    before any.
    """
    if transfer_syntax_uid not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        return None
    content = BytesIO(encoded)
    dataset = read_elements(
        content,
        transfer_syntax_uid == ImplicitVRLittleEndian,
        True,
        stop_when=lambda tag, _vr, _length: tag >= _FIRST_PIXEL_TAG,
    )
    at = content.tell()
    if len(dataset) == 0:
        return None
    if at >= len(encoded):
        return dataset, False
    implicit, _ = dataset.original_encoding
    value_at = at + (8 if implicit else 12)
    length = int.from_bytes(encoded[value_at - 4 : value_at], "little")
    is_pixel_data = encoded[at : at + 4] == _PIXEL_DATA and (implicit or encoded[at + 4 : at + 6] in (b"OW", b"OB"))
    if not is_pixel_data or not 0 < length <= len(encoded) - value_at:
        return None
    return dataset, 0 < _native_length(dataset) <= length


def has_stored_pixels(dataset: Dataset) -> bool:
    """Whether the pixel data are there in full: native ones by length, encapsulated ones by number of fragments."""
    value = next((v for v in (read.value_of(dataset, k) for k in _PIXEL_KEYWORDS) if isinstance(v, bytes) and v), None)
    if value is None:
        return False
    if is_encapsulated(transfer_syntax(dataset)):
        return _fragments(value) >= stated_frame_count(dataset)
    return 0 < _native_length(dataset) <= len(value)


def _native_length(dataset: Dataset) -> int:
    """Bytes that uncompressed pixels take; 0 where it is not stated."""
    sizes = [read.integer(dataset, k) for k in ("Rows", "Columns", "BitsAllocated")]
    rows, columns, bits = (size or 0 for size in sizes)
    samples = read.integer(dataset, "SamplesPerPixel") or 1
    return (rows * columns * samples * stated_frame_count(dataset) * bits + 7) // 8


def transfer_syntax(dataset: Dataset) -> UID:
    """Transfer Syntax UID (0002,0010); empty when there is no file meta information."""
    return UID(read.text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID"))


def is_encapsulated(syntax: UID) -> bool:
    """Whether pixel data come in fragments; False for UIDs that are no transfer syntax."""
    return syntax.is_transfer_syntax and syntax.is_encapsulated


def _fragments(value: bytes) -> int:
    buffer = BytesIO(value)
    try:
        parse_basic_offsets(buffer)
        return parse_fragments(buffer)[0]
    except Exception:  # noqa: BLE001 - pydicom raises no closed set of exceptions on damaged bytes
        return 0


def _starts_like_a_dataset(content: bytes) -> bool:
    group, element = int.from_bytes(content[:2], "little"), int.from_bytes(content[2:4], "little")
    if group not in {0x0002, 0x0008} or element > 0x0018:
        return False
    if content[4:6] in _SHORT_VRS or content[4:6] in _LONG_VRS:
        return True
    return int.from_bytes(content[4:8], "little") <= len(content) - 8


def _check_inflated_size(content: bytes, start: int) -> None:
    """Inflate piecewise first: pydicom has no limit, and a megabyte can become a gigabyte."""
    at, syntax = start, b""
    while content[at : at + 2] == b"\x02\x00":
        long = content[at + 4 : at + 6] in _LONG_VRS
        size = int.from_bytes(content[at + 8 : at + 12] if long else content[at + 6 : at + 8], "little")
        value_at = at + (12 if long else 8)
        if content[at + 2 : at + 4] == b"\x10\x00":
            syntax = content[value_at : value_at + size].rstrip(b"\0 ")
        at = value_at + size
    if syntax.decode("ascii", "replace") != DeflatedExplicitVRLittleEndian:
        return
    inflater, total, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, content[at:]
    while rest and not inflater.eof:
        total += len(inflater.decompress(rest, 2**24))
        rest = inflater.unconsumed_tail
        if total > _LARGEST_INFLATED:
            raise _not_dicom("it inflates to more than any clinical head series holds")


def _guessed_syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _not_dicom(found: str) -> InputRefused:
    return InputRefused(
        Reason(code="NOT_DICOM", message=f"The file is not a readable DICOM object: {found}. Send DICOM Part 10 files.")
    )
