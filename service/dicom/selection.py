"""Which series is a 3D T1 head series, from its header; and, imported from beside, whether two are a pair.

The limits are in `service.dicom.sequence_limits`. Headers can only exclude: whether the images show a head
is for the checks on pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from service.dicom.pair_check import PairCheck, check_pair
from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.sequence_limits import FEWEST_PLANES, LARGEST_SPACING_MM, SEQUENCE_LIMITS
from service.dicom.summaries import slice_grid
from service.errors import Reason

__all__ = ["Faulty", "NotOfInterest", "PairCheck", "SeriesVerdict", "Usable", "assess_series", "check_pair"]

TOO_FEW_SLICES = "TOO_FEW_SLICES"
_MR_IMAGE_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.4",  # MR Image
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image
    }
)
_NOT_ORIGINAL = frozenset({"DERIVED", "SECONDARY"})
_NOT_A_MAGNITUDE_STACK = frozenset(
    {"MPR", "CPR", "MIP", "MINIP", "PROJECTION IMAGE", "REFORMATTED", "LOCALIZER", "SUBTRACTION", "UNI"}
    | {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}
)
_ELSEWHERE = re.compile(
    r"SPINE|^[CTL]SP|CHEST|THORAX|ABDO|PELVI|KNEE|SHOULDER|ELBOW|WRIST|ANKLE|BREAST|HEART|CARDI|PROSTATE|LIVER|KIDNEY|"
    r"\b(HIP|HAND|FOOT|LEG|ARM)\b",
    re.IGNORECASE,
)
_HEAD = re.compile(r"HEAD|BRAIN|SKULL|NEURO|CRAN", re.IGNORECASE)
_OTHER_CONTRAST = re.compile(
    r"\bT2|FLAIR|\bSWI|\bSWAN|\bTOF\b|ANGIO|\bMRA\b|\bDWI|\bDTI|DIFF|BOLD|FMRI|\bASL\b|LOCALI[SZ]ER|SCOUT|SURVEY|\bMPR\b",
    re.IGNORECASE,
)
_FAULTS = {
    "MISSING_GEOMETRY": "not every image states its position and orientation",
    "MISSING_PIXEL_DATA": "not every instance has pixel data",
    "NO_SPACING": "not every image states its pixel spacing",
    "MIXED_MATRIX": "the images have different numbers of rows or columns",
    "MIXED_ORIENTATION": "the images have different orientations",
    "MIXED_PATIENT": "the images name different patients",
    "MIXED_SPACING": "the images have different pixel spacings",
    "DUPLICATE_POSITION": "several images lie at one position, as echoes or repetitions do",
    "UNEVEN_SLICES": "the slices do not lie on a regular grid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """A 3D T1 gradient echo head series, as far as its header tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOfInterest:
    """Something else; it must not disturb."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """It is meant for us, but no volume can be made of it."""

    reasons: tuple[Reason, ...]


SeriesVerdict: TypeAlias = Usable | NotOfInterest | Faulty


def assess_series(summary: SeriesSummary) -> SeriesVerdict:
    """Say whether a series is one that we predict from, so far as it has arrived.

    Too few slices are told last: a series refused for nothing else may still be arriving.
    """
    other = next(_exclusions(summary), None)
    if other is not None:
        return NotOfInterest(reason=other)
    faults = tuple(_fault(code) for code in summary.faults if code in _FAULTS)
    return Faulty(reasons=faults) if faults else Usable()


def _exclusions(summary: SeriesSummary) -> Iterator[Reason]:
    """Why a series is something else; the first is the one to tell."""
    header = summary.header
    if header.modality not in ("", "MR") or header.sop_class_uid not in _MR_IMAGE_CLASSES:
        yield _other("NOT_AN_MR_IMAGE", "It is not made of MR images; accepted: MR Image or Enhanced MR Image.")
    if header.synthetic_data:
        yield _other("SYNTHETIC_DATA", "It is marked as synthetic (0008,001C); accepted: acquired images only.")
    kinds = {part.strip().upper() for part in header.image_type}
    if kinds & _NOT_ORIGINAL:
        yield _other(
            "NOT_ORIGINAL",
            "It was derived from other images; accepted: ORIGINAL\\PRIMARY.",
            "\\".join(header.image_type),
        )
    if kinds & _NOT_A_MAGNITUDE_STACK:
        yield _other(
            "NOT_A_MAGNITUDE_STACK",
            "It is a reformat, a projection, a localiser or a phase image; accepted: the original magnitude images.",
            "\\".join(header.image_type),
        )
    if _ELSEWHERE.search(header.body_part) and not _HEAD.search(header.body_part):
        yield _other("NOT_THE_HEAD", "It shows another part of the body; accepted: the head.", header.body_part, "HEAD")
    yield from _other_sequence(header)
    grid = slice_grid(summary)
    if grid is not None and grid.spacing_mm > LARGEST_SPACING_MM:
        yield _other("SLICE_SPACING", "Its slices lie too far apart.", round(grid.spacing_mm, 2), LARGEST_SPACING_MM)
    planes = max(summary.n_frames, len(summary.sop_instance_uids))
    if planes < FEWEST_PLANES:
        yield _other(TOO_FEW_SLICES, "It has too few slices for a 3D head.", float(planes), float(FEWEST_PLANES))


def _other_sequence(header: InstanceHeader) -> Iterator[Reason]:
    sequence = {part.strip().upper() for part in header.scanning_sequence}
    if sequence & {"SE", "EP"}:
        yield _other(
            "NOT_GRADIENT_ECHO", "It is a spin echo or echo-planar sequence.", "\\".join(header.scanning_sequence), "GR"
        )
    if header.mr_acquisition_type.strip().upper() == "2D":
        yield _other("NOT_3D", "It was acquired slice by slice.", "2D", "3D")
    for limit in SEQUENCE_LIMITS:
        measured = limit.measured(header)
        if measured is not None and not limit.accepts(measured):
            yield _other(
                limit.code,
                f"Its {limit.name} of {measured:g} {limit.unit} is not that of a 3D T1 head protocol; "
                f"accepted: {limit.text}.",
                measured,
                limit.text,
            )
    # Names are free text, often left over from a copied protocol: they only count where tags are silent.
    named = f"{header.series_description} {header.protocol_name}"
    if not sequence and not header.echo_time_ms and _OTHER_CONTRAST.search(named):
        yield _other("OTHER_CONTRAST", "Its name says another contrast, and neither sequence nor echo time is stated.")


def _other(code: str, message: str, measured: float | str | None = None, limit: float | str | None = None) -> Reason:
    return Reason(code=code, message=message, measured=measured, limit=limit)


def _fault(code: str) -> Reason:
    return Reason(
        code=code,
        message=f"No volume can be made of the series: {_FAULTS[code]}. Send the original series again.",
    )
