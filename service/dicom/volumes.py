"""Decode a received series into one volume on a regular grid, or refuse it with the reason."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from service.dicom import header_values as read
from service.dicom.multiframe import frames_of, stated_frame_count
from service.dicom.part10 import has_stored_pixels, read_dataset
from service.dicom.pixels import check_matrix, real_planes
from service.dicom.planes import Plane, Stack, planes_of, stack
from service.dicom.records import SeriesSummary
from service.dicom.rescale import rescale_of
from service.dicom.series import SourcePlane, SourceSeries
from service.errors import InputRefused, Reason
from service.imaging.volume import Float32, Volume

_NOT_IN_TEMPLATE = {
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PerFrameFunctionalGroupsSequence",
}
_KINDS_OF_VOLUME = (
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "InversionTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TriggerTime",
    "DiffusionBValue",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
)


def read_series_from_bytes(contents: Iterable[bytes], summary: SeriesSummary) -> SourceSeries:
    """`read_series` of whole Part 10 files; NOT_DICOM when one cannot be parsed."""
    return read_series([read_dataset(content) for content in contents], summary)


def read_series(datasets: Sequence[Dataset], summary: SeriesSummary) -> SourceSeries:
    """Sort by place in the patient, check, decode.

    Parameters
    ----------
    datasets
        With pixel data and file meta information, single-frame or multi-frame, in any order; not altered.
    summary
        Passed on.

    Raises
    ------
    InputRefused
        MISSING_PIXEL_DATA, MATRIX_TOO_LARGE, PIXELS_UNREADABLE, NOT_GREYSCALE, RESCALE_UNUSABLE (see
        `pixels`); MISSING_GEOMETRY, MIXED_ORIENTATION, MIXED_MATRIX, TOO_FEW_SLICES, SHEARED_GRID, SLICE_GAP
        (see `planes`); MIXED_FRAME_OF_REFERENCE; DUPLICATE_POSITION, two different images at one place, and
        MULTIPLE_VOLUMES when these are echoes, phases, time points or image kinds. Identical images at one
        place are taken once.
    """
    _check_instances(datasets)
    arranged = stack(planes_of(datasets))
    _check_rescales(arranged)
    array = _decode(datasets, arranged)
    kept = [slot[0] for slot in arranged.slots]
    return SourceSeries(
        volume=Volume(array, arranged.grid, read.text(kept[0].frame.root, "FrameOfReferenceUID")),
        planes=tuple(_source_plane(plane) for plane in kept),
        template=_template(kept[0].frame.root),
        window=_window(kept),
        summary=summary,
    )


def _check_instances(datasets: Sequence[Dataset]) -> None:
    if not datasets:
        raise _refused("TOO_FEW_SLICES", "The series has no images; send the whole 3D series.")
    missing = sum(not has_stored_pixels(dataset) for dataset in datasets)
    if missing:
        raise _refused(
            "MISSING_PIXEL_DATA",
            f"{missing} of {len(datasets)} instances have no pixel data, or less than stated; send the series again.",
        )
    check_matrix(datasets)
    if any(len(frames_of(d)) != stated_frame_count(d) for d in datasets):
        raise _refused("MISSING_GEOMETRY", "A multi-frame instance does not describe each of its frames.")
    if len({read.text(dataset, "FrameOfReferenceUID") for dataset in datasets}) > 1:
        raise _refused(
            "MIXED_FRAME_OF_REFERENCE", "The series' images lie in different frames of reference; send one acquisition."
        )


def _check_rescales(arranged: Stack) -> None:
    if len({rescale_of(plane.frame).kind for slot in arranged.slots for plane in slot}) > 1:
        raise _refused(
            "RESCALE_UNUSABLE",
            "Some images state a rescale that others lack, so their values cannot be compared; send the originals.",
        )


def _decode(datasets: Sequence[Dataset], arranged: Stack) -> Float32:
    slot_of = {(p.instance, p.index): k for k, slot in enumerate(arranged.slots) for p in slot}
    array = np.empty(arranged.grid.shape, dtype=np.float32)
    filled: set[int] = set()
    for instance, dataset in enumerate(datasets):
        for index, image in enumerate(real_planes(dataset)):
            k = slot_of[instance, index]
            if k in filled and not np.array_equal(array[k], image, equal_nan=True):
                raise _two_images_at_one_place(arranged, k)
            array[k] = image
            filled.add(k)
    return array


def _two_images_at_one_place(arranged: Stack, k: int) -> InputRefused:
    counts = {len(slot) for slot in arranged.slots}
    if counts != {1} and (len(counts) == 1 or len({_kind(plane) for plane in arranged.slots[k]}) > 1):
        return _refused(
            "MULTIPLE_VOLUMES",
            f"The series holds {max(counts)} volumes (echoes, phases, time points or image kinds); send one a series.",
        )
    return _refused(
        "DUPLICATE_POSITION",
        f"Two different images lie at the place of plane {k + 1} of {len(arranged.slots)}, counted along the slice "
        "normal; it cannot be told which is right. Send the series anew.",
    )


def _kind(plane: Plane) -> tuple[tuple[str, ...], ...]:
    return tuple(read.texts(plane.frame.holder(keyword), keyword) for keyword in _KINDS_OF_VOLUME)


def _source_plane(plane: Plane) -> SourcePlane:
    root = plane.frame.root
    return SourcePlane(
        sop_class_uid=read.text(root, "SOPClassUID"),
        sop_instance_uid=read.text(root, "SOPInstanceUID"),
        frame_number=plane.frame.number,
        position=plane.position,
        instance_number=read.integer(root, "InstanceNumber"),
    )


def _template(source: Dataset) -> Dataset:
    """Copy what can be read; an element that breaks its VR would break every object made from it."""
    template = Dataset()
    for tag in sorted(source.keys()):
        try:
            element = copy.deepcopy(source[tag])
        except Exception:  # noqa: BLE001, S112 - pydicom raises no closed set of exceptions on values that break their VR
            continue
        if element.keyword not in _NOT_IN_TEMPLATE and _holds_its_kind(element):
            template.add(element)
    return template


def _holds_its_kind(element: DataElement) -> bool:
    """Pydicom leaves decimal and integer strings that are no numbers as they are."""
    values = element.value if element.VM > 1 else [element.value]
    return element.VR not in {"DS", "IS"} or not any(isinstance(value, str) and value for value in values)


def _window(planes: Sequence[Plane]) -> tuple[float, float] | None:
    """The median over planes, since some scanners choose one per plane; the first where a plane has several."""
    found = []
    for plane in planes:
        centre, width = (_first_number(plane, keyword) for keyword in ("WindowCenter", "WindowWidth"))
        if centre is not None and width is not None and width > 0:
            found.append(rescale_of(plane.frame).window_in_real_values(centre, width))
    if not found:
        return None
    centre, width = np.median(np.array(found), axis=0)
    return float(centre), float(width)


def _first_number(plane: Plane, keyword: str) -> float | None:
    holder = plane.frame.holder(keyword)
    count = len(read.texts(holder, keyword))
    found = read.numbers(holder, keyword, count) if count else None
    return None if found is None else found[0]


def _refused(code: str, message: str) -> InputRefused:
    return InputRefused(Reason(code=code, message=message))
