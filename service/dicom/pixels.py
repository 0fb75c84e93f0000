"""Pixel data to real values, one plane at a time; sizes are checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGLSTransferSyntaxes, RLELossless

from service.dicom import header_values as read
from service.dicom.codestreams import check_codestreams, pixels_unreadable
from service.dicom.multiframe import frames_of, stated_frame_count
from service.dicom.part10 import has_stored_pixels, is_encapsulated, transfer_syntax
from service.dicom.rescale import rescale_of
from service.errors import InputRefused, Reason
from service.imaging.quality_limits import LIMITS
from service.imaging.volume import Float32


def check_matrix(datasets: Sequence[Dataset]) -> None:
    """Hold the voxels that the headers announce against the limit, before memory is spent on them.

    Raises
    ------
    InputRefused
        MATRIX_TOO_LARGE.
    """
    limit = LIMITS["MATRIX_TOO_LARGE"]
    voxels = sum(
        (read.integer(d, "Rows") or 0) * (read.integer(d, "Columns") or 0) * stated_frame_count(d) for d in datasets
    )
    if voxels > limit.highest:
        raise InputRefused(
            Reason(code="MATRIX_TOO_LARGE", message=limit.message, measured=float(voxels), limit=limit.highest)
        )


def real_values(dataset: Dataset) -> Float32:
    """All frames of one instance: float32 ``(frames, rows, columns)``; see `real_planes`."""
    return np.stack(list(real_planes(dataset)))


def real_planes(dataset: Dataset) -> Iterator[Float32]:
    """Decode frame by frame, in stored order: float32 ``(rows, columns)`` in real values (`rescale_of`).

    Pixels at the Pixel Padding Value, or between it and the Pixel Padding Range Limit, hold no signal: 0.
    MONOCHROME1 is refused: whether a scanner's signal or only its display was inverted cannot be told.

    Raises
    ------
    InputRefused
        MISSING_PIXEL_DATA; MATRIX_TOO_LARGE; NOT_GREYSCALE for colour and MONOCHROME1; RESCALE_UNUSABLE;
        PIXELS_UNREADABLE for everything a decoder objects to, frames that are not as large as the header
        says, and values beyond Bits Stored.
    """
    if not has_stored_pixels(dataset):
        raise InputRefused(
            Reason(
                code="MISSING_PIXEL_DATA",
                message="An instance has no pixel data, or less than its header says; send the images again.",
            )
        )
    check_matrix([dataset])
    _check_greyscale(dataset)
    frames = frames_of(dataset)
    count = 0
    for count, stored in enumerate(_stored_planes(dataset), start=1):
        if count > len(frames):
            break
        rescale = rescale_of(frames[count - 1])
        real = stored.astype(np.float64) * rescale.slope + rescale.intercept
        real[_padding(dataset, stored)] = 0.0
        yield real.astype(np.float32)
    if count != len(frames):
        raise pixels_unreadable(f"{len(frames)} frames are described and another number is stored")


def _check_greyscale(dataset: Dataset) -> None:
    photometric = read.text(dataset, "PhotometricInterpretation")
    if (read.integer(dataset, "SamplesPerPixel"), photometric) != (1, "MONOCHROME2"):
        raise InputRefused(
            Reason(
                code="NOT_GREYSCALE",
                message="The series is not stored as MONOCHROME2 with one sample per pixel; send the original images.",
            )
        )


def _stored_planes(dataset: Dataset) -> Iterator[NDArray[Any]]:
    is_float = "PixelData" not in dataset
    if not is_float:
        _check_bits(dataset)
    syntax = transfer_syntax(dataset)
    if is_encapsulated(syntax):
        check_codestreams(dataset, syntax)
    for plane in _decoded(dataset, syntax, _plugin(syntax)):
        if plane.shape != (read.integer(dataset, "Rows"), read.integer(dataset, "Columns")):
            raise pixels_unreadable("a frame is not as large as Rows and Columns say")
        yield plane if is_float else _within_bits_stored(dataset, plane)


def _decoded(dataset: Dataset, syntax: UID, plugin: str) -> Iterator[NDArray[Any]]:
    """Nothing of ours runs inside the except clause, so that a fault of ours is not blamed on the file."""
    try:
        planes = get_decoder(syntax).iter_array(
            dataset, raw=True, decoding_plugin=plugin, correct_unused_bits=False, validate=True
        )
        plane = next(planes, None)
        while plane is not None:
            yield plane[0]
            plane = next(planes, None)
    except Exception as error:  # noqa: BLE001 - decoders raise no closed set of exceptions on damaged streams
        raise pixels_unreadable(f"{syntax.name}: {type(error).__name__}") from None


def _plugin(syntax: UID) -> str:
    """One decoder each, so that what else is installed on a machine cannot change a voxel."""
    if syntax in JPEGLSTransferSyntaxes:
        return "pyjpegls"
    if syntax == RLELossless:
        return "pydicom"  # pylibjpeg-rle panics on damaged segments, past every except clause
    return "pylibjpeg" if is_encapsulated(syntax) else ""


def _check_bits(dataset: Dataset) -> None:
    allocated, stored, high, signed = (
        read.integer(dataset, k) or 0 for k in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    if allocated not in {8, 16, 32} or not 0 < stored <= allocated or high != stored - 1 or signed not in {0, 1}:
        raise pixels_unreadable("Bits Allocated, Bits Stored, High Bit and Pixel Representation contradict each other")


def _within_bits_stored(dataset: Dataset, plane: NDArray[Any]) -> NDArray[Any]:
    """Drop what PS3.5 section 8.1.1 lets stand above Bits Stored: sign extension, or an overlay; refuse the rest."""
    unused = plane.dtype.itemsize * 8 - (read.integer(dataset, "BitsStored") or 0)
    if unused < 0:
        raise pixels_unreadable("a compressed frame has fewer bits than Bits Stored says")
    if unused == 0:
        return plane
    kept = cast("NDArray[Any]", (plane << unused) >> unused)
    unextended = np.dtype(f"u{plane.dtype.itemsize}")
    zero_above = not (plane.astype(unextended) >> (8 * plane.dtype.itemsize - unused)).any()
    if (kept != plane).any() and not zero_above and not _has_embedded_overlay(dataset):
        raise pixels_unreadable("pixel values lie beyond Bits Stored")
    return kept


def _has_embedded_overlay(dataset: Dataset) -> bool:
    return any((group, 0x0102) in dataset and (group, 0x3000) not in dataset for group in range(0x6000, 0x6020, 2))


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    first = read.integer(dataset, "PixelPaddingValue")
    last = read.integer(dataset, "PixelPaddingRangeLimit")
    if first is None or stored.dtype.kind == "f":
        return np.zeros(stored.shape, dtype=bool)
    # scanners write negative values with an unsigned VR and the reverse; only the bits are meant
    low, high = sorted(int(np.int64(v).astype(stored.dtype)) for v in (first, first if last is None else last))
    return (stored >= low) & (stored <= high)
