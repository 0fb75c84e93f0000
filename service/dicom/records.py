"""Records that describe received DICOM objects; what the ledger stores and pairing reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """An instance that is durably in the spool.

    Attributes
    ----------
    relative_path
        Path under the spool root; made of hashes, never of a peer's text.
    sha256
        Of transfer syntax and data set, as the name has it (`service.storage.spool.content_digest`).
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    relative_path: str
    sha256: str
    size_bytes: int
    calling_ae: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """The header facts of one instance that selection, completeness and pairing use.

    Lengths in mm, angles in degrees, times in ms; None or empty where the tag is absent.
    ``acquired_at`` is local (naive) unless TimezoneOffsetFromUTC (0008,0201) was present.
    ``positions_mm``: signed distances of the frames along the slice normal (one for classic MR).
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str
    modality: str
    image_type: tuple[str, ...]
    series_description: str
    protocol_name: str
    series_number: int | None
    instance_number: int | None
    manufacturer: str
    model_name: str
    device_serial_number: str
    body_part: str
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    mr_acquisition_type: str
    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    flip_angle_deg: float | None
    slice_thickness_mm: float | None
    pixel_spacing_mm: tuple[float, float] | None
    rows: int | None
    columns: int | None
    n_frames: int
    image_orientation: tuple[float, ...] | None
    positions_mm: tuple[float, ...]
    frame_of_reference_uid: str
    acquired_at: datetime | None
    contrast_agent: str
    contrast_route: str
    contrast_start: datetime | None
    images_in_acquisition: int | None
    has_pixel_data: bool
    synthetic_data: bool
    patient_name: str = ""
    patient_sex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSummary:
    """One series as far as it has arrived: representative header values plus all slice positions.

    Attributes
    ----------
    header
        The header of the first instance by position; per-instance values vary.
    sop_instance_uids
        Sorted by slice position.
    positions_mm
        All frames' positions along the normal, sorted.
    acquired_at
        Earliest of the instances.
    faults
        Codes found while summarising: MIXED_ORIENTATION, MIXED_MATRIX, DUPLICATE_POSITION, ...
    """

    header: InstanceHeader
    sop_instance_uids: tuple[str, ...]
    positions_mm: tuple[float, ...]
    acquired_at: datetime | None
    faults: tuple[str, ...]

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return self.header.series_instance_uid

    @property
    def n_frames(self) -> int:
        """Number of image planes that have arrived."""
        return len(self.positions_mm)
