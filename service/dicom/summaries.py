"""From the headers of a series' instances to one summary: order, slice grid, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from service.dicom.records import InstanceHeader, SeriesSummary
from service.errors import InputRefused, Reason

SPACING_TOLERANCE = 0.05
"""Relative. Positions are written with 0.01 mm or finer, below this for slices of 0.5 mm; a stack that is less
even cannot be laid on a regular grid without moving anatomy."""
DUPLICATE_TOLERANCE_MM = 0.05
"""Two planes nearer than this are one position: no slices are that thin, and exports round to 0.01 mm or finer."""
DIRECTION_TOLERANCE = 1e-3
"""Per direction cosine: directions written with three decimals differ by that much; 0.25 mm at 250 mm."""
PIXEL_SPACING_TOLERANCE = 1e-3
"""Relative, above the rounding of a decimal string."""
LARGEST_OVERLAP_FREE_RATIO = 1.5
"""3D slices touch or overlap; when they lie further apart than 1.5 thicknesses, slices between them are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceGrid:
    """The regular grid that the planes of a series lie on.

    Attributes
    ----------
    spacing_mm
        Between neighbouring planes, mm.
    n_missing
        Grid points between the first and the last plane that have no plane.
    uniform
        Whether every plane lies on the grid, within `SPACING_TOLERANCE`.
    """

    n_planes: int
    spacing_mm: float
    n_missing: int
    uniform: bool

    @property
    def extent_mm(self) -> float:
        """Thickness of the whole stack, half a plane beyond the outer centres at both ends, mm."""
        return (self.n_planes + self.n_missing) * self.spacing_mm


def summarise(headers: Sequence[InstanceHeader]) -> SeriesSummary:
    """Summarise one series as far as it has arrived; the order of `headers` does not matter.

    Contradictions become codes in ``faults``, sorted: MISSING_GEOMETRY, MISSING_PIXEL_DATA, NO_SPACING,
    MIXED_MATRIX, MIXED_ORIENTATION, MIXED_PATIENT, MIXED_SPACING, DUPLICATE_POSITION, SLICE_GAP, UNEVEN_SLICES.

    Raises
    ------
    InputRefused
        There is no header, or they belong to several series.
    """
    if not headers:
        raise InputRefused(Reason(code="SERIES_EMPTY", message="The series has no instance; send it again."))
    series = {header.series_instance_uid for header in headers}
    if len(series) > 1:
        raise InputRefused(
            Reason(
                code="SEVERAL_SERIES",
                message="Instances of several series were given as one; give each series by itself.",
                measured=float(len(series)),
                limit=1.0,
            )
        )
    ordered = sorted(headers, key=_place_in_stack)
    positions = tuple(sorted(position for header in ordered for position in header.positions_mm))
    times = [header.acquired_at for header in ordered if header.acquired_at is not None]
    return SeriesSummary(
        header=ordered[0],
        sop_instance_uids=tuple(header.sop_instance_uid for header in ordered),
        positions_mm=positions,
        acquired_at=min(times, key=_wall_clock) if times else None,
        faults=tuple(sorted(set(_faults(ordered, positions)))),
    )


def slice_grid(summary: SeriesSummary) -> SliceGrid | None:
    """The slice grid of a series, or None when fewer than two different positions are known."""
    return _grid_of(summary.positions_mm, summary.header)


def _place_in_stack(header: InstanceHeader) -> tuple[bool, float, int, str]:
    first = min(header.positions_mm, default=0.0)
    return not header.positions_mm, first, header.instance_number or 0, header.sop_instance_uid


def _wall_clock(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _faults(headers: Sequence[InstanceHeader], positions: Sequence[float]) -> Iterator[str]:
    if any(header.image_orientation is None or len(header.positions_mm) < header.n_frames for header in headers):
        yield "MISSING_GEOMETRY"
    if not all(header.has_pixel_data for header in headers):
        yield "MISSING_PIXEL_DATA"
    if any(header.pixel_spacing_mm is None or min(header.pixel_spacing_mm) <= 0 for header in headers):
        yield "NO_SPACING"
    if _differ(headers, lambda header: (header.rows, header.columns)):
        yield "MIXED_MATRIX"
    if _differ(headers, lambda header: (header.patient_id, header.issuer_of_patient_id, header.patient_birth_date)):
        yield "MIXED_PATIENT"
    if _spread(header.image_orientation for header in headers) > DIRECTION_TOLERANCE:
        yield "MIXED_ORIENTATION"
    spacings = [header.pixel_spacing_mm for header in headers if header.pixel_spacing_mm]
    if spacings and _spread(spacings) > PIXEL_SPACING_TOLERANCE * max(map(max, spacings)):
        yield "MIXED_SPACING"
    if any(b - a < DUPLICATE_TOLERANCE_MM for a, b in pairwise(positions)):
        yield "DUPLICATE_POSITION"
    grid = _grid_of(positions, headers[0])
    if grid and grid.n_missing:
        yield "SLICE_GAP"
    if grid and not grid.uniform:
        yield "UNEVEN_SLICES"


def _differ(headers: Sequence[InstanceHeader], value: Callable[[InstanceHeader], Hashable]) -> bool:
    return len({value(header) for header in headers}) > 1


def _spread(vectors: Iterable[tuple[float, ...] | None]) -> float:
    """Largest difference in any component between any two vectors; those that are None do not count."""
    components = list(zip(*(vector for vector in vectors if vector is not None), strict=True))
    return max((max(values) - min(values) for values in components), default=0.0)


def _grid_of(positions: Sequence[float], header: InstanceHeader) -> SliceGrid | None:
    steps = [b - a for a, b in pairwise(positions) if b - a >= DUPLICATE_TOLERANCE_MM]
    if not steps:
        return None
    spacing = median(steps)
    thickness = header.slice_thickness_mm or 0.0
    if header.mr_acquisition_type == "3D" and spacing > LARGEST_OVERLAP_FREE_RATIO * thickness > 0:
        spacing = thickness
    counts = [max(1, round(step / spacing)) for step in steps]
    return SliceGrid(
        n_planes=len(steps) + 1,
        spacing_mm=spacing,
        n_missing=sum(counts) - len(counts),
        uniform=all(
            abs(step - count * spacing) <= SPACING_TOLERANCE * spacing * count
            for step, count in zip(steps, counts, strict=True)
        ),
    )
