"""Records of received instances, coherent by patient, series and slice number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.dicom.records import InstanceHeader, SeriesSummary, StoredInstance
from service.storage.spool import Spool

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def series_uid(series: int, patient: int = 1) -> str:
    return f"1.2.826.0.1.{patient}.{series}"


def sop_uid(series: int, number: int, patient: int = 1) -> str:
    return f"{series_uid(series, patient)}.{number}"


def make_header(series: int = 1, number: int = 1, patient: int = 1, **changes: object) -> InstanceHeader:
    header = InstanceHeader(
        sop_instance_uid=sop_uid(series, number, patient),
        sop_class_uid=MR_IMAGE_STORAGE,
        series_instance_uid=series_uid(series, patient),
        study_instance_uid=f"1.2.826.0.2.{patient}",
        patient_id=f"P{patient}",
        issuer_of_patient_id="",
        patient_birth_date="19500101",
        modality="MR",
        image_type=("ORIGINAL", "PRIMARY"),
        series_description="T1",
        protocol_name="T1",
        series_number=series,
        instance_number=number,
        manufacturer="",
        model_name="",
        device_serial_number="",
        body_part="HEAD",
        scanning_sequence=("GR",),
        sequence_variant=("SP", "MP"),
        mr_acquisition_type="3D",
        repetition_time_ms=8.0,
        echo_time_ms=3.7,
        inversion_time_ms=None,
        flip_angle_deg=8.0,
        slice_thickness_mm=1.0,
        pixel_spacing_mm=(1.0, 1.0),
        rows=8,
        columns=8,
        n_frames=1,
        image_orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        positions_mm=(float(number),),
        frame_of_reference_uid=f"1.2.826.0.3.{patient}",
        acquired_at=datetime(2026, 3, 4, 9, 0) + timedelta(hours=series),
        contrast_agent="",
        contrast_route="",
        contrast_start=None,
        images_in_acquisition=None,
        has_pixel_data=True,
        synthetic_data=False,
    )
    return replace(header, **changes)  # type: ignore[arg-type]


def make_stored(header: InstanceHeader, content: str = "a", at: datetime = NOON) -> StoredInstance:
    """A record without a file behind it."""
    return StoredInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=EXPLICIT_VR_LE,
        relative_path=f"objects/{header.sop_instance_uid}-{content}.dcm",
        sha256="0" * 64,
        size_bytes=100,
        calling_ae="SCANNER",
        received_at=at,
    )


def spool_one(spool: Spool, header: InstanceHeader, content: bytes = b"pixels", at: datetime = NOON) -> StoredInstance:
    """Write one instance; `content` stands for the encoded data set."""
    return spool.write(
        content,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=EXPLICIT_VR_LE,
        calling_ae="SCANNER",
        now=at,
    )


def summarise(headers: object) -> SeriesSummary:
    """The least a summary needs; the service's own lives in `service.dicom`."""
    ordered = sorted(headers, key=lambda header: header.positions_mm)  # type: ignore[call-overload]
    return SeriesSummary(
        header=ordered[0],
        sop_instance_uids=tuple(header.sop_instance_uid for header in ordered),
        positions_mm=tuple(position for header in ordered for position in header.positions_mm),
        acquired_at=ordered[0].acquired_at,
        faults=(),
    )
