"""Whether two series are one sequence at two times: patient, sequence, scanner, orientation."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from service.dicom.policy import PairingPolicy
from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.summaries import slice_grid
from service.errors import Reason

SLIGHT = 0.2
"""Part of a tolerance beyond which a difference is told as a warning; below it is rounding."""
LARGEST_ANGLE_DEG = 20.0
"""Registration was validated to this angle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the headers of a pair show: a reason to refuse it, or only to warn."""

    reason: Reason
    rejects: bool


def differences(baseline: SeriesSummary, delayed: SeriesSummary, policy: PairingPolicy) -> Iterator[Finding]:
    """Everything in which the two series are unlike; what a header does not state is not held against it."""
    one, other = baseline.header, delayed.header
    yield from _patient(one, other)
    yield from _sequence(one, other, policy)
    yield from _spacing(baseline, delayed, policy)
    yield from _scanner(one, other)
    yield from _orientation(one, other)


def same_patient(one: InstanceHeader, other: InstanceHeader) -> bool:
    """Whether Patient ID, its issuer, birth date, sex and name do not contradict each other; blank contradicts nothing.

    Names contradict when they have no part in common: one may be spelt out, or changed by marriage. Those with letters
    beyond ASCII are not compared, since a lost character set makes another name of the same.

    A blank Patient ID identifies nobody: two series without one are one patient's only within a study.
    """
    identified = one.patient_id.strip() and other.patient_id.strip()
    if not identified and one.study_instance_uid != other.study_instance_uid:
        return False
    if not all(not (a and b) or a == b for a, b in zip(_identity(one), _identity(other), strict=True)):
        return False
    names = name_parts(one.patient_name), name_parts(other.patient_name)
    strangers = bool(names[0]) and bool(names[1]) and not names[0] & names[1]
    return not strangers and {one.patient_sex, other.patient_sex} != {"M", "F"}


def name_parts(name: str) -> frozenset[str]:
    """Parts of a name, two letters and longer, without case and accents; none where it cannot be compared."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return frozenset(re.findall(r"[a-z]{2,}", plain.lower())) if plain.isascii() else frozenset()


def _identity(header: InstanceHeader) -> tuple[str, str, str]:
    return header.patient_id.strip(), header.issuer_of_patient_id.strip(), header.patient_birth_date.strip()


def _patient(one: InstanceHeader, other: InstanceHeader) -> Iterator[Finding]:
    if not same_patient(one, other):
        yield rejection(
            "PATIENT_MISMATCH",
            "The two series name different patients (Patient ID, its issuer, birth date, sex, or names without a "
            "common part); accepted: the same in both. Correct the wrong one in PACS and send it again.",
        )
    elif _identity(one) != _identity(other) or not all((one.patient_id.strip(), one.patient_birth_date.strip())):
        yield warning(
            "PATIENT_IDENTITY_INCOMPLETE",
            "Patient ID, its issuer or birth date is blank in one of the series or both, so the patient's identity "
            "rests on the rest; compare the two series by eye.",
        )


def _sequence(one: InstanceHeader, other: InstanceHeader, policy: PairingPolicy) -> Iterator[Finding]:
    times = (
        ("repetition times", one.repetition_time_ms, other.repetition_time_ms, policy.repetition_time_tolerance),
        ("echo times", one.echo_time_ms, other.echo_time_ms, policy.echo_time_tolerance),
    )
    for names, a, b, tolerance in times:
        if a and b:
            share = abs(a - b) / min(a, b)
            yield from _judged(names, f"{a:g} and {b:g} ms", share, tolerance, f"{tolerance:.0%}")
    a, b, limit = one.flip_angle_deg, other.flip_angle_deg, policy.flip_angle_tolerance_deg
    if a and b:
        yield from _judged("flip angles", f"{a:g} and {b:g} degrees", abs(a - b), limit, f"{limit:g} degrees")
    a, b = one.inversion_time_ms, other.inversion_time_ms
    if a and b and a != b:
        yield _slight("inversion times", f"{a:g} and {b:g} ms")


def _spacing(baseline: SeriesSummary, delayed: SeriesSummary, policy: PairingPolicy) -> Iterator[Finding]:
    for name, a, b in zip(("row", "column", "slice"), spacings_mm(baseline), spacings_mm(delayed), strict=True):
        if not (a and b):
            continue
        ratio = max(a, b) / min(a, b)
        # Scanners interpolate by two on reconstruction (matrix 512 for 256): the same acquisition on a finer grid.
        interpolated = abs(ratio / 2 - 1) < abs(ratio - 1)
        share = abs(ratio / 2 - 1) if interpolated else ratio - 1
        found, limit = f"{a:.3g} and {b:.3g} mm", f"{policy.spacing_tolerance:.0%}, or a factor of 2"
        yield from _judged(f"{name} spacings", found, share, policy.spacing_tolerance, limit)
        if interpolated and share <= policy.spacing_tolerance:
            yield _slight(f"{name} spacings", found)


def spacings_mm(summary: SeriesSummary) -> tuple[float, float, float]:
    """Row, column and slice spacing, mm; 0 where not known."""
    grid = slice_grid(summary)
    rows, columns = summary.header.pixel_spacing_mm or (0.0, 0.0)
    return rows, columns, grid.spacing_mm if grid else 0.0


def _scanner(one: InstanceHeader, other: InstanceHeader) -> Iterator[Finding]:
    pairs = (
        (one.manufacturer, other.manufacturer),
        (one.model_name, other.model_name),
        (one.device_serial_number, other.device_serial_number),
    )
    if any(a.strip() and b.strip() and a.strip() != b.strip() for a, b in pairs):
        yield warning(
            "SCANNER_DIFFERS",
            "The two series come from different scanners; contrast may differ between them beyond what "
            "normalisation evens out.",
        )


def _orientation(one: InstanceHeader, other: InstanceHeader) -> Iterator[Finding]:
    if one.image_orientation is None or other.image_orientation is None:
        return
    angle = max(
        math.degrees(math.acos(max(-1.0, min(1.0, sum(a * b for a, b in zip(u, v, strict=True))))))
        for u, v in (
            (one.image_orientation[:3], other.image_orientation[:3]),
            (one.image_orientation[3:], other.image_orientation[3:]),
        )
    )
    if angle > LARGEST_ANGLE_DEG:
        yield warning(
            "ORIENTATION_DIFFERS",
            "The slices of the two series are oriented differently; the same planning at both times is safer.",
            round(angle, 1),
            LARGEST_ANGLE_DEG,
        )


def _judged(names: str, found: str, difference: float, tolerance: float, limit: str) -> Iterator[Finding]:
    rounding = 1e-9  # a tolerance includes its end, whatever binary fractions make of it
    if difference > tolerance + rounding:
        yield rejection(
            "SEQUENCE_DIFFERS",
            f"The {names} of the two series are too far apart ({found}), so they are not one sequence; accepted: at "
            f"most {limit} apart. Send the series that was acquired alike at both times.",
            found,
            limit,
        )
    elif difference > SLIGHT * tolerance + rounding:
        yield _slight(names, found)


def _slight(names: str, found: str) -> Finding:
    return warning(
        "SEQUENCE_DIFFERS",
        f"The {names} of the two series differ ({found}), within what is accepted; one protocol for both times "
        "gives the best prediction.",
        found,
    )


def rejection(
    code: str, message: str, measured: float | str | None = None, limit: float | str | None = None
) -> Finding:
    """A finding that refuses the pair."""
    return Finding(reason=Reason(code=code, message=message, measured=measured, limit=limit), rejects=True)


def warning(code: str, message: str, measured: float | str | None = None, limit: float | str | None = None) -> Finding:
    """A finding that only warns."""
    return Finding(reason=Reason(code=code, message=message, measured=measured, limit=limit), rejects=False)
