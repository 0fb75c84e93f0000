"""The planes of a series in patient space, and the regular grid that they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from service.dicom import header_values as read
from service.dicom.multiframe import Frame, frames_of
from service.errors import InputRefused, Reason
from service.imaging.volume import Float64, Grid

_SAME_PLACE_MM = 0.05  # no slices are that thin; exports round positions to 0.01 mm or finer
_OFF_GRID_MM = 0.1  # of any plane from its place on the regular grid: a tenth of a voxel
_GAP_FRACTION = 0.05  # of the spacing; a missing slice makes it 1
_COSINE = 1e-3  # directions written with three decimals differ by that much; 0.25 mm at 250 mm
_SPACING_MM = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """One frame and its place.

    Attributes
    ----------
    instance
        Position of the instance in the sequence of data sets.
    index
        0-based frame of the instance.
    position
        Image Position (Patient), LPS mm.
    orientation
        Image Orientation (Patient): direction of a row, direction of a column.
    spacing
        Pixel Spacing in mm: between rows, between columns.
    matrix
        Rows, columns.
    """

    instance: int
    index: int
    frame: Frame
    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    matrix: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Planes in order along the slice normal; more than one in a slot lie at the same place."""

    slots: tuple[tuple[Plane, ...], ...]
    grid: Grid


def planes_of(datasets: Sequence[Dataset]) -> list[Plane]:
    """Every frame of every instance with its geometry.

    Raises
    ------
    InputRefused
        MISSING_GEOMETRY: position, orientation, spacing or matrix is absent, not finite or not positive, or
        the directions are not unit vectors at right angles.
    """
    return [
        _plane(instance, index, frame)
        for instance, dataset in enumerate(datasets)
        for index, frame in enumerate(frames_of(dataset))
    ]


def stack(planes: Sequence[Plane]) -> Stack:
    """Sort planes along row direction x column direction and find their grid.

    The spacing between slices is the distance between positions; Slice Thickness and Spacing Between Slices
    are not read, since with gaps, overlap or interpolation they say something else. Directions are made
    orthonormal; the grid's origin is the first plane's position.

    Raises
    ------
    InputRefused
        MIXED_ORIENTATION, MIXED_MATRIX (or pixel spacing), TOO_FEW_SLICES, SHEARED_GRID, SLICE_GAP.
    """
    planes = sorted(planes, key=_identity)  # the order of arrival must not change a digit
    first = planes[0]
    if any(np.abs(np.subtract(p.orientation, first.orientation)).max() > _COSINE for p in planes):
        raise _refused("MIXED_ORIENTATION", "The series holds planes of different orientations; send one stack.")
    if any(
        p.matrix != first.matrix or np.abs(np.subtract(p.spacing, first.spacing)).max() > _SPACING_MM for p in planes
    ):
        raise _refused("MIXED_MATRIX", "The series holds planes of different matrix or pixel spacing; send one stack.")
    directions = _orthonormal(first.orientation)
    slots = _slots(planes, directions[:, 2])
    if len(slots) < 2:
        raise _refused("TOO_FEW_SLICES", "The series has fewer than two different planes; send the whole 3D series.")
    _check_sheared([p for slot in slots for p in slot], directions)
    spacing = _even_spacing([_distance(slot[0], directions[:, 2]) for slot in slots])
    affine = np.eye(4)
    affine[:3, :3] = directions * (first.spacing[1], first.spacing[0], spacing)
    affine[:3, 3] = slots[0][0].position
    return Stack(slots=slots, grid=Grid((len(slots), *first.matrix), affine))


def _plane(instance: int, index: int, frame: Frame) -> Plane:
    position = read.numbers(frame.holder("ImagePositionPatient"), "ImagePositionPatient", 3)
    orientation = read.numbers(frame.holder("ImageOrientationPatient"), "ImageOrientationPatient", 6)
    spacing = read.numbers(frame.holder("PixelSpacing"), "PixelSpacing", 2)
    rows, columns = (read.integer(frame.root, keyword) for keyword in ("Rows", "Columns"))
    if position is None or orientation is None or spacing is None or not rows or not columns:
        raise _refused("MISSING_GEOMETRY", "A plane lacks its position, orientation, pixel spacing or matrix.")
    if min(*spacing, rows, columns) <= 0:
        raise _refused("MISSING_GEOMETRY", "A plane's pixel spacing or matrix is not positive.")
    axes = np.reshape(orientation, (2, 3))
    if np.abs(axes @ axes.T - np.eye(2)).max() > _COSINE:
        raise _refused("MISSING_GEOMETRY", "A plane's directions are not unit vectors at right angles.")
    return Plane(
        instance=instance,
        index=index,
        frame=frame,
        position=(position[0], position[1], position[2]),
        orientation=orientation,
        spacing=(spacing[0], spacing[1]),
        matrix=(rows, columns),
    )


def _orthonormal(orientation: tuple[float, ...]) -> Float64:
    """Columns: row direction, column direction, normal; the nearest orthonormal pair, so neither is favoured."""
    left, _, right = np.linalg.svd(np.reshape(orientation, (2, 3)), full_matrices=False)
    row, column = left @ right
    return np.stack([row, column, np.cross(row, column)], axis=1)


def _identity(plane: Plane) -> tuple[str, int]:
    return read.text(plane.frame.root, "SOPInstanceUID"), plane.index


def _distance(plane: Plane, normal: Float64) -> float:
    return float(normal @ plane.position)


def _slots(planes: Sequence[Plane], normal: Float64) -> tuple[tuple[Plane, ...], ...]:
    ordered = sorted(planes, key=lambda plane: (_distance(plane, normal), _identity(plane)))
    slots: list[list[Plane]] = []
    for plane in ordered:
        if slots and _distance(plane, normal) - _distance(slots[-1][0], normal) < _SAME_PLACE_MM:
            slots[-1].append(plane)
        else:
            slots.append([plane])
    return tuple(tuple(slot) for slot in slots)


def _check_sheared(planes: Sequence[Plane], directions: Float64) -> None:
    """Positions must drift neither along rows nor along columns: gantry tilt, or two stacks side by side."""
    positions = np.array([p.position for p in planes])
    drift = float(np.linalg.norm((positions - positions[0]) @ directions[:, :2], axis=1).max())
    if drift > _OFF_GRID_MM:
        raise _refused(
            "SHEARED_GRID",
            "The planes do not lie behind one another along their normal; send a series without tilt or shear.",
            f"{drift:.2f} mm aside",
            f"{_OFF_GRID_MM:g} mm",
        )


def _even_spacing(distances: Sequence[float]) -> float:
    gaps = np.diff(distances)
    usual = float(np.median(gaps))
    spacing = (distances[-1] - distances[0]) / (len(distances) - 1)
    off = np.abs(distances - (distances[0] + spacing * np.arange(len(distances))))
    uneven = np.abs(gaps - usual)
    if uneven.max() > _GAP_FRACTION * usual or off.max() > _OFF_GRID_MM:
        worst = int(uneven.argmax())
        raise _refused(
            "SLICE_GAP",
            f"The planes are not evenly spaced: between planes {worst + 1} and {worst + 2} of {len(distances)}, "
            "counted along the slice normal, the distance differs most; send every slice of the series.",
            f"{gaps[worst]:.3f} mm",
            f"{usual:.3f} mm",
        )
    return spacing


def _refused(code: str, message: str, measured: str | None = None, limit: str | None = None) -> InputRefused:
    return InputRefused(Reason(code=code, message=message, measured=measured, limit=limit))
