"""From received bytes or a data set to the `InstanceHeader` that selection, completeness and pairing read.

Acquisition time is the first of these that can be read:

1. multi-frame: the earliest Frame Acquisition DateTime (0018,9074), else Frame Reference DateTime (0018,9151)
2. Acquisition DateTime (0008,002A)
3. Acquisition Date (0008,0022) and Time (0008,0032)
4. Content Date (0008,0023) and Time (0008,0033)
5. Series Date (0008,0021) and Time (0008,0031): a series' clock starts with its prescription, so it comes last

A time is never put together with the date of another pair.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from service.dicom import header_values as read
from service.dicom.multiframe import Frame, frames_of, stated_frame_count
from service.dicom.part10 import has_stored_pixels, read_before_pixels, read_dataset
from service.dicom.records import InstanceHeader
from service.errors import InputRefused, Reason

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")  # components with leading zeros are invalid, but archives are full of them
_LONGEST_UID = 64
_PHILIPS = "Philips Imaging DD 001"


def parse_header(content: bytes) -> InstanceHeader:
    """Read the header of a whole Part 10 file (a preamble may be missing).

    Raises
    ------
    InputRefused
        NOT_DICOM, or MISSING_UID. Nothing else, whatever the bytes.
    """
    dataset = read_dataset(content)
    try:
        return read_header(dataset)
    except InputRefused:
        raise
    except Exception as error:  # noqa: BLE001 - no closed set of exceptions; their text may quote the patient's values
        raise InputRefused(
            Reason(
                code="NOT_DICOM",
                message=f"The header cannot be read ({type(error).__name__}); send the file as the scanner wrote it.",
            )
        ) from None


def parse_received(encoded_dataset: bytes, transfer_syntax_uid: str) -> InstanceHeader | None:
    """Read the header of a plain data set as it came, without its pixels; the same as of the whole file, but quicker.

    None where only the whole file tells: other encodings, anything out of the ordinary.
    """
    try:
        found = read_before_pixels(encoded_dataset, transfer_syntax_uid)
        return None if found is None else read_header(found[0], has_pixel_data=found[1])
    except Exception:  # noqa: BLE001 - as above; reading the whole file finds the words for it
        return None


def read_header(dataset: Dataset, *, has_pixel_data: bool | None = None) -> InstanceHeader:
    """Collect the header facts of one instance; values that cannot be understood count as absent.

    Parameters
    ----------
    dataset
        With file meta information; pixel data may have been left out.
    has_pixel_data
        Overrides what the data set says, for one that was read without pixel data.

    Raises
    ------
    InputRefused
        MISSING_UID when the SOP Class, SOP Instance, Series or Study Instance UID is missing or invalid.

    Notes
    -----
    Lengths that are zero, negative or not finite are None. Distances are along the first frame's normal.
    """
    frames = frames_of(dataset)
    first = frames[0]
    acquired_at = _acquired_at(dataset, frames)
    scanning_sequence, sequence_variant = _sequence(dataset, first)
    return InstanceHeader(
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        patient_id=read.text(dataset, "PatientID"),
        issuer_of_patient_id=read.text(dataset, "IssuerOfPatientID"),
        patient_birth_date=read.text(dataset, "PatientBirthDate"),
        modality=read.text(dataset, "Modality"),
        image_type=read.texts(dataset, "ImageType") or read.texts(first.holder("FrameType"), "FrameType"),
        series_description=read.text(dataset, "SeriesDescription"),
        protocol_name=read.text(dataset, "ProtocolName"),
        series_number=read.integer(dataset, "SeriesNumber"),
        instance_number=read.integer(dataset, "InstanceNumber"),
        manufacturer=read.text(dataset, "Manufacturer"),
        model_name=read.text(dataset, "ManufacturerModelName"),
        device_serial_number=read.text(dataset, "DeviceSerialNumber"),
        body_part=_body_part(dataset, first),
        scanning_sequence=scanning_sequence,
        sequence_variant=sequence_variant,
        mr_acquisition_type=read.text(first.holder("MRAcquisitionType"), "MRAcquisitionType"),
        repetition_time_ms=_number(first, "RepetitionTime"),
        echo_time_ms=_number(first, "EchoTime") or _number(first, "EffectiveEchoTime"),
        inversion_time_ms=_number(first, "InversionTime") or _number(first, "InversionTimes"),
        flip_angle_deg=_number(first, "FlipAngle"),
        slice_thickness_mm=_length(first, "SliceThickness"),
        pixel_spacing_mm=_pixel_spacing(first),
        rows=read.integer(dataset, "Rows"),
        columns=read.integer(dataset, "Columns"),
        n_frames=stated_frame_count(dataset),
        image_orientation=read.numbers(first.holder("ImageOrientationPatient"), "ImageOrientationPatient", 6),
        positions_mm=_positions(frames),
        frame_of_reference_uid=read.text(dataset, "FrameOfReferenceUID"),
        acquired_at=acquired_at,
        contrast_agent=_contrast_agent(dataset, frames),
        contrast_route=_contrast_route(dataset),
        contrast_start=_contrast_start(dataset, acquired_at),
        images_in_acquisition=_images_in_acquisition(dataset),
        has_pixel_data=has_stored_pixels(dataset) if has_pixel_data is None else has_pixel_data,
        synthetic_data=read.text(dataset, "SyntheticData").upper() == "YES",
        patient_name=read.text(dataset, "PatientName"),
        patient_sex=read.text(dataset, "PatientSex").upper(),
    )


def _uid(dataset: Dataset, keyword: str) -> str:
    uid = read.text(dataset, keyword)
    if not _UID.fullmatch(uid) or len(uid) > _LONGEST_UID:
        raise InputRefused(
            Reason(
                code="MISSING_UID",
                message=f"{keyword} is missing or not a UID; an instance needs one to be told apart. Export it again.",
            )
        )
    return uid


def _number(frame: Frame, keyword: str) -> float | None:
    return read.number(frame.holder(keyword), keyword)


def _length(frame: Frame, keyword: str) -> float | None:
    found = _number(frame, keyword)
    return found if found is not None and found > 0 else None


def _pixel_spacing(frame: Frame) -> tuple[float, float] | None:
    found = read.numbers(frame.holder("PixelSpacing"), "PixelSpacing", 2)
    return (found[0], found[1]) if found is not None and min(found) > 0 else None


def _positions(frames: list[Frame]) -> tuple[float, ...]:
    orientation = read.numbers(frames[0].holder("ImageOrientationPatient"), "ImageOrientationPatient", 6)
    if orientation is None:
        return ()
    normal = np.cross(orientation[:3], orientation[3:])
    places = [read.numbers(f.holder("ImagePositionPatient"), "ImagePositionPatient", 3) for f in frames]
    return tuple(float(normal @ place) for place in places if place is not None)


def _body_part(dataset: Dataset, first: Frame) -> str:
    stated = read.text(dataset, "BodyPartExamined")
    return stated or _meaning(first.holder("AnatomicRegionSequence"), "AnatomicRegionSequence").upper()


def _sequence(dataset: Dataset, first: Frame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scanning Sequence (0018,0020) and Sequence Variant (0018,0021), or what Enhanced MR says in their place."""
    scanning = read.texts(first.holder("ScanningSequence"), "ScanningSequence")
    variant = read.texts(first.holder("SequenceVariant"), "SequenceVariant")
    pulse = read.text(dataset, "EchoPulseSequence")
    if scanning or not pulse:
        return scanning, variant
    inverted = read.text(first.holder("InversionRecovery"), "InversionRecovery") == "YES"
    gradient = pulse in {"GRADIENT", "BOTH"}
    scanning = tuple(
        term
        for term, holds in (
            ("SE", pulse in {"SPIN", "BOTH"}),
            ("GR", gradient),
            ("IR", inverted),
            ("EP", read.text(dataset, "EchoPlanarPulseSequence") == "YES"),
        )
        if holds
    )
    steady = read.text(dataset, "SteadyStatePulseSequence")
    segmented = read.text(dataset, "SegmentedKSpaceTraversal")
    transfer = read.text(first.holder("MagnetizationTransfer"), "MagnetizationTransfer")
    spoiling = read.text(first.holder("Spoiling"), "Spoiling")
    variant = tuple(
        term
        for term, holds in (
            ("SK", segmented in {"PARTIAL", "FULL"}),
            ("MTC", transfer not in {"", "NONE"}),
            ("SS", steady in {"FREE_PRECESSION", "TRANSVERSE"}),
            ("TRSS", steady == "TIME_REVERSED"),
            ("SP", spoiling not in {"", "NONE"}),
            ("MP", inverted and gradient),
        )
        if holds
    )
    return scanning, variant or ("NONE",)


def _acquired_at(dataset: Dataset, frames: list[Frame]) -> datetime | None:
    zone = read.utc_offset(dataset)
    for keyword in ("FrameAcquisitionDateTime", "FrameReferenceDateTime"):
        moments = [read.date_time(frame.holder(keyword), keyword, zone) for frame in frames]
        known = [moment for moment in moments if moment is not None]
        aware = [moment for moment in known if moment.tzinfo is not None]  # cannot be compared with local ones
        if known:
            return min(aware or known)
    pairs = (
        ("AcquisitionDate", "AcquisitionTime"),
        ("ContentDate", "ContentTime"),
        ("SeriesDate", "SeriesTime"),
    )
    candidates = [read.date_time(dataset, "AcquisitionDateTime", zone)]
    candidates += [read.date_and_time(dataset, day, clock, zone) for day, clock in pairs]
    return next((moment for moment in candidates if moment is not None), None)


def _agents(dataset: Dataset) -> list[Dataset]:
    return read.items(dataset, "ContrastBolusAgentSequence")


def _contrast_agent(dataset: Dataset, frames: list[Frame]) -> str:
    """Empty when Enhanced MR says of every frame that the agent was prescribed but not (yet) administered."""
    used = {
        read.text(frame.holder("ContrastBolusAgentAdministered"), "ContrastBolusAgentAdministered") for frame in frames
    }
    if used == {"NO"}:
        return ""
    named = read.text(dataset, "ContrastBolusAgent")
    coded = [read.text(agent, "CodeMeaning") or read.text(agent, "ContrastBolusAgent") for agent in _agents(dataset)]
    ingredients = [_meaning(agent, "ContrastBolusIngredientCodeSequence") for agent in _agents(dataset)]
    return next((name for name in (named, *coded, *ingredients) if name), "")


def _contrast_route(dataset: Dataset) -> str:
    keyword = "ContrastBolusAdministrationRouteSequence"
    coded = [_meaning(place, keyword) for place in (dataset, *_agents(dataset))]
    return next((route for route in (read.text(dataset, "ContrastBolusRoute"), *coded) if route), "")


def _contrast_start(dataset: Dataset, acquired_at: datetime | None) -> datetime | None:
    """Contrast/Bolus Start Time (0018,1042) is a time of day: it lies within the 24 h before the acquisition."""
    if acquired_at is None:
        return None
    profiles = [
        profile for agent in _agents(dataset) for profile in read.items(agent, "ContrastAdministrationProfileSequence")
    ]
    times = [read.time_of_day(place, "ContrastBolusStartTime") for place in (dataset, *profiles)]
    zone = read.utc_offset(dataset)
    local = acquired_at.astimezone(zone) if zone is not None and acquired_at.tzinfo is not None else acquired_at
    starts = [datetime.combine(local.date(), clock, tzinfo=local.tzinfo) for clock in times if clock is not None]
    return min((start if start <= local else start - timedelta(days=1) for start in starts), default=None)


def _images_in_acquisition(dataset: Dataset) -> int | None:
    """How many images the scanner says it made.

    Images in Acquisition (0020,1002), else Philips' Number of Slices MR (2001,xx18) for an original with one
    echo, phase and dynamic; a reformatted series copies it from its source. GE's Locations in Acquisition
    (0021,xx4F) is not read: it counts before interpolation between slices, and GE states the standard one.
    """
    stated = read.integer(dataset, "ImagesInAcquisition")
    if stated is not None:
        return stated if stated > 0 else None
    if read.texts(dataset, "ImageType")[:1] != ("ORIGINAL",):
        return None
    several = [read.private_number(dataset, 0x2001, _PHILIPS, element) for element in (0x14, 0x17, 0x60, 0x81)]
    slices = read.private_number(dataset, 0x2001, _PHILIPS, 0x18)
    if slices is None or not 0 < slices < 10_000 or any(count not in {None, 1.0} for count in several):
        return None
    return int(slices)


def _meaning(dataset: Dataset, keyword: str) -> str:
    return read.text(read.first_item(dataset, keyword), "CodeMeaning")
