"""What compressed frames announce about themselves, read before a decoder is let loose on them."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from service.dicom import header_values as read
from service.dicom.multiframe import stated_frame_count
from service.errors import InputRefused, Reason

_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF, JPEG-LS' among them (T.81 B.1, T.87 C.1)
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}  # without a segment
_END_OF_IMAGE = b"\xff\xd9"
_J2K_SIZE = b"\xff\x4f\xff\x51"  # SOC, SIZ (T.800 A.4, A.5)
_RLE_HEADER = 64


def check_codestreams(dataset: Dataset, syntax: UID) -> None:
    """Compare every frame's own size with Rows and Columns, and see that JPEG frames have an end.

    A decoder allocates what the stream announces, whatever the header says; libjpeg returns a grey rest for
    a stream that was cut off; and surplus RLE rows would be dropped silently.

    Raises
    ------
    InputRefused
        PIXELS_UNREADABLE.
    """
    rows, columns = (read.integer(dataset, keyword) or 0 for keyword in ("Rows", "Columns"))
    try:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=stated_frame_count(dataset)))
    except Exception as error:  # noqa: BLE001 - pydicom raises no closed set of exceptions on damaged fragments
        raise pixels_unreadable(f"fragments: {type(error).__name__}") from None
    for frame in frames:
        if syntax == RLELossless:
            fits = all(0 <= size - rows * columns < columns for size in _rle_sizes(frame))
        elif syntax in JPEG2000TransferSyntaxes:
            fits = _jpeg_2000_size(frame) == (rows, columns)
        elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
            fits = _jpeg_size(frame) == (rows, columns)
            if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
                raise pixels_unreadable("a compressed frame ends early")
        else:
            raise pixels_unreadable(f"the transfer syntax {syntax.name} is not supported")
        if not fits:
            raise pixels_unreadable("a compressed frame is not as large as Rows and Columns say")


def pixels_unreadable(found: str) -> InputRefused:
    """PIXELS_UNREADABLE, for this reason."""
    return InputRefused(
        Reason(
            code="PIXELS_UNREADABLE",
            message=f"The pixel data cannot be decoded ({found}); send the series again, uncompressed if need be.",
        )
    )


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG or JPEG-LS stream."""
    at = 2
    while frame.startswith(b"\xff\xd8") and at + 9 <= len(frame):
        marker = frame[at + 1]
        if frame[at] != 0xFF or marker == 0xFF:
            at += 1
        elif marker in _SIZE_MARKERS:
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big")
        else:
            at += 2 if marker in _BARE_MARKERS else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _jpeg_2000_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG 2000 codestream, which some writers wrap in a JP2 file."""
    at = frame.find(_J2K_SIZE)
    if at < 0 or len(frame) < at + 24:
        return None
    width, height, left, top = (int.from_bytes(frame[at + n : at + n + 4], "big") for n in (8, 12, 16, 20))
    return height - top, width - left


def _rle_sizes(frame: bytes) -> list[int]:
    """Decoded bytes of each segment (PS3.5 annex G): one segment for each byte of a pixel."""
    count = int.from_bytes(frame[:4], "little")
    starts = [int.from_bytes(frame[at : at + 4], "little") for at in range(4, 4 + 4 * min(count, 15), 4)]
    ends = [*starts[1:], len(frame)]
    if not starts or starts[0] != _RLE_HEADER or any(end < start for start, end in zip(starts, ends, strict=True)):
        return [-1]
    return [_rle_size(frame[start:end]) for start, end in zip(starts, ends, strict=True)]


def _rle_size(segment: bytes) -> int:
    at, size = 0, 0
    while at + 1 < len(segment):  # a last byte on its own is padding
        control = segment[at]
        if control < 128:
            size += min(control + 1, len(segment) - at - 1)
            at += control + 2
        else:
            size += 257 - control if control > 128 else 0
            at += 2 if control > 128 else 1
    return size
