"""Synthetic DICOM series from a `Volume`: what the reader must give back is what was put in.

The same arguments give the same UIDs, so ``study=1`` of one call is the study of another; series of one
study share a Frame of Reference unless told otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from service.imaging.volume import Grid, Volume
from tests.builders.dicom_encoding import encode
from tests.builders.dicom_enhanced import enhanced_from, legacy_converted_from

__all__ = [
    "classic_series",
    "encode",
    "enhanced_series",
    "legacy_converted_series",
    "make_uid",
    "ramp_volume",
    "shuffled",
    "to_bytes",
]

MORNING = datetime(2024, 5, 14, 8, 0)
PHILIPS_CREATOR = "Philips MR Imaging DD 001"
ORIENTATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "oblique": ((0.9363, 0.0955, -0.3379), (0.0, 0.9623, 0.2720)),
}


def ramp_volume(
    orientation: str = "axial",
    shape: tuple[int, int, int] = (6, 36, 40),
    spacing_ijk: tuple[float, float, float] = (0.9, 1.1, 1.3),
    origin: tuple[float, float, float] = (-30.0, 20.0, -10.0),
) -> Volume:
    """Whole numbers 0..3000 without pattern; k ascends along row direction x column direction."""
    row, column = (np.asarray(v, dtype=float) for v in ORIENTATIONS[orientation])
    row /= np.linalg.norm(row)
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * spacing_ijk
    affine[:3, 3] = origin
    array = np.random.default_rng(7).permutation(int(np.prod(shape))).reshape(shape) % 3001
    return Volume(array.astype(np.float32), Grid(shape, affine))


def make_uid(*parts: object) -> str:
    """The same parts give the same UID."""
    return str(generate_uid(entropy_srcs=["csf24-tests", *(str(part) for part in parts)]))


def classic_series(
    volume: Volume,
    *,
    patient_id: str = "P1",
    birth_date: str = "19500101",
    issuer: str = "",
    study: int = 1,
    series: int = 1,
    acquired_at: datetime = MORNING,
    injected_at: datetime | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    manufacturer: str = "SIEMENS",
    rescale: tuple[float, float] = (1.0, 0.0),
    philips_scale_slope: float | None = None,
    description: str = "T1 3D",
    frame_of_reference: str | None = None,
    **tags: object,
) -> list[Dataset]:
    """MR Image Storage, one instance per k, Instance Number k + 1.

    Parameters
    ----------
    volume
        Real values, whole multiples of the slope for an exact round trip; negative ones give signed pixels.
    rescale
        (slope, intercept); written only when not (1, 0).
    philips_scale_slope
        Private Scale Slope (2005,100E); real = (stored * slope + intercept) / (slope * scale slope).
    tags
        By keyword, set last: a value; a callable of k; None to delete the attribute.
    """
    stored = _stored(volume, rescale, philips_scale_slope)
    common = _common(volume, manufacturer=manufacturer, description=description, acquired_at=acquired_at, series=series)
    _set_patient_and_study(common, patient_id, birth_date, issuer, study)
    common.SeriesInstanceUID = make_uid(patient_id, study, series)
    common.FrameOfReferenceUID = frame_of_reference or make_uid(patient_id, study, "frame of reference")
    if injected_at is not None:
        common.ContrastBolusAgent = "Gadobutrol"
        common.ContrastBolusRoute = "INTRATHECAL"
        common.ContrastBolusStartTime = injected_at.strftime("%H%M%S")
    if rescale != (1.0, 0.0) or philips_scale_slope is not None:
        common.RescaleSlope, common.RescaleIntercept = (f"{v:.12g}" for v in rescale)
        common.RescaleType = "US"
    if philips_scale_slope is not None:
        common.private_block(0x2005, PHILIPS_CREATOR, create=True).add_new(0x0E, "FL", philips_scale_slope)
    common.PixelRepresentation = int(stored.dtype == np.int16)
    return encode([_instance(common, volume.grid, plane, k, tags) for k, plane in enumerate(stored)], transfer_syntax)


def enhanced_series(
    volume: Volume, *, frame_order: Sequence[int] | None = None, parts: int = 1, **options: object
) -> list[Dataset]:
    """Enhanced MR Image Storage, `parts` instances; frame f of the whole is plane ``frame_order[f]``.

    `options` as for `classic_series`; ``tags`` are set at the top level.
    """
    transfer_syntax, tags, classic = _split_options(volume, options)
    order = list(range(len(classic))) if frame_order is None else list(frame_order)
    chunks = np.array_split(np.asarray(order), parts)
    made = [enhanced_from([classic[k] for k in chunk], number) for number, chunk in enumerate(chunks, start=1)]
    for dataset in made:
        _set_tags(dataset, tags, 0)
    return encode(made, transfer_syntax)


def legacy_converted_series(volume: Volume, **options: object) -> list[Dataset]:
    """Legacy Converted Enhanced MR, one instance, by highdicom's converter (which is not ours)."""
    transfer_syntax, tags, classic = _split_options(volume, options)
    converted = legacy_converted_from(classic, make_uid("legacy", classic[0].SeriesInstanceUID))
    _set_tags(converted, tags, 0)
    return encode([converted], transfer_syntax)


def to_bytes(dataset: Dataset) -> bytes:
    """The Part 10 file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def shuffled(datasets: Sequence[Dataset], seed: int = 0) -> list[Dataset]:
    """In another order."""
    order = np.random.default_rng(seed).permutation(len(datasets))
    return [datasets[n] for n in order]


def _split_options(volume: Volume, options: dict[str, object]) -> tuple[str, dict[str, object], list[Dataset]]:
    own = classic_series.__kwdefaults__
    transfer_syntax = str(options.pop("transfer_syntax", ExplicitVRLittleEndian))
    tags = {name: options.pop(name) for name in list(options) if name not in own}
    return transfer_syntax, tags, classic_series(volume, **options)  # type: ignore[arg-type]


def _stored(volume: Volume, rescale: tuple[float, float], scale_slope: float | None) -> np.ndarray:
    slope, intercept = rescale
    real = volume.array.astype(np.float64) * (1.0 if scale_slope is None else slope * scale_slope)
    stored = np.rint((real - intercept) / slope)
    dtype = np.dtype(np.int16 if stored.min() < 0 else np.uint16)
    if stored.min() < np.iinfo(dtype).min or stored.max() > np.iinfo(dtype).max:
        raise ValueError(f"stored values {stored.min()}..{stored.max()} do not fit {dtype}; choose another rescale")
    return stored.astype(dtype)


def _set_patient_and_study(ds: Dataset, patient_id: str, birth_date: str, issuer: str, study: int) -> None:
    ds.PatientName = f"Tester^{patient_id}"
    ds.PatientID = patient_id
    if issuer:
        ds.IssuerOfPatientID = issuer
    ds.PatientBirthDate = birth_date
    ds.PatientSex = "O"
    ds.StudyInstanceUID = make_uid(patient_id, study)
    ds.StudyID = str(study)


def _common(volume: Volume, *, manufacturer: str, description: str, acquired_at: datetime, series: int) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    ds.SOPClassUID = MRImageStorage
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = acquired_at.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = acquired_at.strftime("%H%M%S.%f")
    ds.AccessionNumber = ""
    ds.Modality = "MR"
    ds.Manufacturer = manufacturer
    ds.ReferringPhysicianName = ""
    ds.SeriesDescription = description
    ds.ManufacturerModelName = "Model One"
    ds.BodyPartExamined = "HEAD"
    ds.ScanningSequence = "GR"
    ds.SequenceVariant = ["SP", "MP"]
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "3D"
    ds.SliceThickness = f"{volume.grid.spacing[2]:.9g}"
    ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = "8", "3.7", "8"
    ds.EchoTrainLength = 1
    ds.MagneticFieldStrength = "3"
    ds.DeviceSerialNumber = "12345"
    ds.SoftwareVersions = "1.0"
    ds.ProtocolName = description
    ds.PatientPosition = "HFS"
    ds.SeriesNumber = series
    ds.AcquisitionNumber = 1
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = volume.grid.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelSpacing = [f"{volume.grid.spacing[axis]:.9g}" for axis in (1, 0)]
    directions = volume.grid.directions
    ds.ImageOrientationPatient = [f"{v:.9f}" for v in (*directions[:, 0], *directions[:, 1])]
    ds.WindowCenter, ds.WindowWidth = "500", "1000"
    return ds


def _instance(common: Dataset, grid: Grid, plane: np.ndarray, k: int, tags: dict[str, object]) -> Dataset:
    ds = copy.deepcopy(common)  # setting a value changes the element, which must not be another instance's
    ds.SOPInstanceUID = make_uid(common.SeriesInstanceUID, k)
    ds.InstanceNumber = k + 1
    ds.ImagePositionPatient = [f"{v:.9g}" for v in grid.to_world([[0, 0, k]])[0]]
    ds.PixelData = plane.astype(plane.dtype.newbyteorder("<")).tobytes() + b"\0" * (plane.nbytes % 2)
    ds["PixelData"].VR = "OW"
    _set_tags(ds, tags, k)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "")
    ds.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    return ds


def _set_tags(dataset: Dataset, tags: dict[str, object], k: int) -> None:
    for keyword, given in tags.items():
        value = given(k) if callable(given) else given
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
