"""The planes of a prediction: values, place in the patient, and the source planes behind each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from pydicom.dataset import Dataset

from service.dicom.derived_common import Derivation, instances_of
from service.dicom.inherited import decimal, inherit
from service.dicom.series import SourcePlane, SourceSeries
from service.imaging.volume import Float32, Float64, Grid

_ROUNDING = 5e-5  # between a header's numbers and a grid fitted to all planes
_OBLIQUE = 0.25  # direction cosine from which an anatomical direction is worth naming; 15 degrees off the plane


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictedPlane:
    """One plane of a prediction.

    Attributes
    ----------
    values
        ``(rows, columns)``, source units.
    position
        LPS mm of the centre of the first pixel.
    orientation
        Row direction, column direction (0020,0037), LPS.
    pixel_spacing
        mm between rows, between columns (0028,0030).
    spacing_mm
        To the next plane.
    sources
        The baseline plane on the same pixels; without one (slice-pair models), all instances of both series.
    name
        Identifies the plane within its series, for its UID.
    """

    values: Float32
    position: Float64
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    spacing_mm: float
    thickness_mm: float
    sources: tuple[SourcePlane, ...]
    same_grid: bool
    instance_number: int
    name: str


def predicted_planes(case: Derivation) -> Iterator[PredictedPlane]:
    """All planes, in the source's order where they are the source's planes.

    Raises
    ------
    ValueError
        A whole-volume prediction does not lie on the baseline's grid.
    """
    volumes = case.restored.predicted
    if len(volumes) > 1:
        yield from _own_planes(case)
        return
    baseline = case.baseline
    grid = baseline.volume.grid
    if not volumes[0].grid.same_as(grid, tolerance_mm=1e-2):
        raise ValueError("a predicted volume must lie on the baseline's grid")
    header = baseline.summary.header
    orientation, pixel_spacing = _orientation(grid), _pixel_spacing(grid)
    for k, number in sorted(enumerate(instance_numbers(baseline)), key=lambda pair: pair[1]):
        plane = baseline.planes[k]
        yield PredictedPlane(
            values=volumes[0].array[k],
            position=np.asarray(plane.position, dtype=np.float64),
            orientation=_as_stated(header.image_orientation, orientation),
            pixel_spacing=_as_stated(header.pixel_spacing_mm, pixel_spacing),
            spacing_mm=grid.spacing[2],
            thickness_mm=header.slice_thickness_mm or grid.spacing[2],
            sources=(plane,),
            same_grid=True,
            instance_number=number,
            name=f"{plane.sop_instance_uid}/{plane.frame_number or 0}",
        )


def instance_numbers(source: SourceSeries) -> tuple[int, ...]:
    """An Instance Number for every plane that lists the derived images as the source lists its own.

    The source's numbers where every plane has one of its own; else the frame numbers of a single multi-frame
    instance; else 1, 2, 3 along the slice normal.
    """
    for numbers in (
        [plane.instance_number for plane in source.planes],
        [plane.frame_number for plane in source.planes],
    ):
        known = [number for number in numbers if number is not None and number >= 0]
        if len(set(known)) == len(source.planes):
            return tuple(known)
    return tuple(range(1, len(source.planes) + 1))


def set_geometry(dataset: Dataset, plane: PredictedPlane, case: Derivation) -> None:
    """Frame of Reference and Image Plane (PS3.3 C.7.4.1, C.7.6.2).

    A secondary capture may have them too (PS3.3 A.8.1.3), but not every reader looks: GDCM, by default, does not.
    """
    dataset.FrameOfReferenceUID = frame_of_reference(case)
    inherit(dataset, case.baseline.template, ("PositionReferenceIndicator",), always=True)
    dataset.ImagePositionPatient = [decimal(v) for v in plane.position]
    dataset.ImageOrientationPatient = [decimal(v) for v in plane.orientation]
    dataset.PixelSpacing = [decimal(v) for v in plane.pixel_spacing]
    dataset.SliceThickness = decimal(plane.thickness_mm)
    dataset.SpacingBetweenSlices = decimal(round(plane.spacing_mm, 4))
    dataset.PatientOrientation = [
        patient_orientation(plane.orientation[:3]),
        patient_orientation(plane.orientation[3:]),
    ]


def frame_of_reference(case: Derivation) -> str:
    """The baseline's; one of the case's own when the baseline states none, so that the planes share one."""
    stated = case.baseline.volume.frame_of_reference_uid or case.baseline.summary.header.frame_of_reference_uid
    return stated or case.uid("frame-of-reference")


def patient_orientation(direction: Sequence[float]) -> str:
    """Patient Orientation (0020,0020) letters of an LPS unit vector, the main direction first."""
    letters = []
    for axis in np.argsort([-abs(cosine) for cosine in direction], kind="stable"):
        if abs(direction[axis]) >= _OBLIQUE:
            letters.append(("LPH" if direction[axis] > 0 else "RAF")[axis])
    return "".join(letters)


def _orientation(grid: Grid) -> tuple[float, ...]:
    directions = grid.directions
    return (*directions[:, 0].tolist(), *directions[:, 1].tolist())


def _pixel_spacing(grid: Grid) -> tuple[float, float]:
    return grid.spacing[1], grid.spacing[0]


_Values = TypeVar("_Values", bound=tuple[float, ...])


def _as_stated(stated: tuple[float, ...] | None, computed: _Values) -> _Values:
    """The source's own numbers where the grid agrees: some viewers link only planes whose numbers are equal."""
    if stated is None or not np.allclose(stated, computed, rtol=0, atol=_ROUNDING):
        return computed
    return cast(_Values, stated)


def _own_planes(case: Derivation) -> Iterator[PredictedPlane]:
    sources = tuple(plane for series in case.sources for plane in instances_of(series))
    for number, volume in enumerate(case.restored.predicted, start=1):
        if volume.grid.shape[0] != 1:
            raise ValueError("a prediction of several volumes must be of single planes")
        yield PredictedPlane(
            values=volume.array[0],
            position=volume.grid.origin,
            orientation=_orientation(volume.grid),
            pixel_spacing=_pixel_spacing(volume.grid),
            spacing_mm=volume.grid.spacing[2],
            thickness_mm=volume.grid.spacing[2],
            sources=sources,
            same_grid=False,
            instance_number=number,
            name=f"plane/{number}",
        )
