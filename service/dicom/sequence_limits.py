"""What an unenhanced-style 3D T1 gradient echo head series looks like in its header, and why.

Drawn from the founding paper's protocol (Philips T1-TFE: TR 5.1, TE 2.3, FA 8) and the usual head protocols
of other vendors: Philips MPRAGE (TR 6.5-10, TE 2.9-4.6, FA 8-9), GE BRAVO / MPRAGE (TR 6-9, TE 2.5-3.7,
TI 400-1060, FA 8-12), Siemens MPRAGE (TR 1800-2500, TE 2.0-4.2, TI 850-1100, FA 7-12). A value that the header
does not state rejects nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.dicom.records import InstanceHeader

FEWEST_PLANES = 60
"""140 mm of head in slices of at most 2.5 mm is 56 planes; localisers and 2D stacks have fewer."""
SHORTEST_FIELD_OF_VIEW_MM = 140.0
"""An adult head is 140-165 mm wide at the temples."""
LARGEST_SPACING_MM = 2.5
"""Fluid in cisterns and the fat behind the eye are 3-5 mm wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceLimit:
    """Ranges, ends included, that a stated value must lie in one of.

    Attributes
    ----------
    value
        Reads it from a header; None or 0 where it is not stated.
    """

    code: str
    name: str
    unit: str
    value: Callable[[InstanceHeader], float | None]
    ranges: tuple[tuple[float, float], ...]
    why: str

    def measured(self, header: InstanceHeader) -> float | None:
        """The stated value, or None; 0 is how some scanners write 'does not apply'."""
        return self.value(header) or None

    def accepts(self, measured: float) -> bool:
        """Whether a value lies in one of the ranges."""
        return any(lowest <= measured <= highest for lowest, highest in self.ranges)

    @property
    def text(self) -> str:
        """The accepted ranges in words."""
        return " or ".join(f"{lowest:g} to {highest:g}" for lowest, highest in self.ranges) + f" {self.unit}"


SEQUENCE_LIMITS = (
    SequenceLimit(
        code="ECHO_TIME",
        name="echo time",
        unit="ms",
        value=lambda header: header.echo_time_ms,
        ranges=((1.0, 6.5),),
        why="T1 head protocols have 2-4.6 ms; susceptibility imaging 15-40 ms, T2 and FLAIR 80-400 ms",
    ),
    SequenceLimit(
        code="REPETITION_TIME",
        name="repetition time",
        unit="ms",
        value=lambda header: header.repetition_time_ms,
        ranges=((3.5, 15.0), (1000.0, 4000.0)),
        why="between echoes (Philips, GE) or between inversions (Siemens); 3D localisers have 3.1-3.2 ms, "
        "angiography 18-30 ms, MP2RAGE 4-6 s, FLAIR 4.8-11 s",
    ),
    SequenceLimit(
        code="FLIP_ANGLE",
        name="flip angle",
        unit="degrees",
        value=lambda header: header.flip_angle_deg,
        ranges=((4.0, 15.0),),
        why="T1 head protocols have 7-12; angiography 18-25, spin echo 90; at 20 fluid and fat no longer compare",
    ),
    SequenceLimit(
        code="INVERSION_TIME",
        name="inversion time",
        unit="ms",
        value=lambda header: header.inversion_time_ms,
        ranges=((300.0, 1400.0),),
        why="prepared T1 has 400-1100; fat suppression (STIR) 150-250, FLAIR 1650-2800",
    ),
    SequenceLimit(
        code="SLICE_THICKNESS",
        name="slice thickness",
        unit="mm",
        value=lambda header: header.slice_thickness_mm,
        ranges=((0.3, LARGEST_SPACING_MM),),
        why="thicker slices hide the cisterns and the orbital fat",
    ),
    SequenceLimit(
        code="PIXEL_SPACING",
        name="pixel spacing",
        unit="mm",
        value=lambda header: max(header.pixel_spacing_mm) if header.pixel_spacing_mm else None,
        ranges=((0.1, LARGEST_SPACING_MM),),
        why="as the slice thickness",
    ),
)
