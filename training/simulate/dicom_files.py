"""Simulated visits as DICOM: classic MR Image Storage, JPEG-LS lossless, marked as simulated in plain words.

Synthetic Data (0008,001C) is NOT set to YES: it stands for images that must never be an input, and these
are made to be one. Patient name, series description, image comments and study description say SIMULATED.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, MRImageStorage, generate_uid

from service.dicom.identity import SIMULATOR
from service.imaging.volume import Volume

_COMMENT = "SIMULATED head and tracer, made by csf24-training simulate; no patient exists"
_IMPLEMENTATION = "CSF24-SIM"
_BASELINE_AT = datetime(2024, 5, 14, 8, 0)  # noqa: DTZ001 - DICOM local time
INJECTED_AT = _BASELINE_AT + timedelta(minutes=70)


def write_series(
    volume: Volume,
    folder: Path,
    *,
    patient_id: str,
    description: str,
    acquired_at: datetime,
    injected_at: datetime | None,
    number: int,
    study_key: str,
    flip_deg: float,
    repetition_time_ms: float,
    echo_time_ms: float,
) -> list[Path]:
    """One series, a file per slice, ``<number>_<slice>.dcm``. The same arguments give the same UIDs.

    Parameters
    ----------
    volume
        Whole numbers 0..32767.
    injected_at
        Written as Contrast/Bolus Start Time (0018,1042) with agent and route when given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = _header(patient_id, description, acquired_at, number, study_key)
    common.FlipAngle, common.RepetitionTime, common.EchoTime = (
        f"{v:.4g}" for v in (flip_deg, repetition_time_ms, echo_time_ms)
    )
    if injected_at is not None:
        common.ContrastBolusAgent = "Gadobutrol (simulated)"
        common.ContrastBolusRoute = "INTRATHECAL"
        common.ContrastBolusStartTime = injected_at.strftime("%H%M%S")
        common.ContrastBolusVolume = "0.5"
    spacing_i, spacing_j, spacing_k = volume.grid.spacing
    directions = volume.grid.directions
    common.Rows, common.Columns = volume.grid.shape[1:]
    common.PixelSpacing = [f"{spacing_j:.6g}", f"{spacing_i:.6g}"]
    common.SliceThickness = f"{spacing_k:.6g}"
    common.SpacingBetweenSlices = f"{spacing_k:.6g}"
    common.ImageOrientationPatient = [f"{v:.9g}" for v in (*directions[:, 0], *directions[:, 1])]
    pixels = np.clip(np.rint(volume.array), 0, 32767).astype("<u2")
    common.WindowCenter = str(int(np.percentile(pixels, 99) // 2))
    common.WindowWidth = str(int(np.percentile(pixels, 99)))
    written = []
    for k, plane in enumerate(pixels):
        position = volume.grid.to_world(np.array([[0, 0, k]]))[0]
        written.append(_write_slice(common, plane, position, k, folder / f"{number:02d}_{k + 1:03d}.dcm"))
    return written


def _header(patient_id: str, description: str, acquired_at: datetime, number: int, study_key: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
    ds.SOPClassUID = MRImageStorage
    ds.PatientName = f"SIMULATED^{patient_id}"
    ds.PatientID = patient_id
    ds.PatientBirthDate = "19500101"
    ds.PatientSex = "O"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["csf24-simulated", study_key])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["csf24-simulated", study_key, str(number)])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["csf24-simulated", study_key, "frame", str(number)])
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = acquired_at.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = acquired_at.strftime("%H%M%S")
    ds.StudyID = "SIM"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "SIMULATED intrathecal contrast MRI"
    ds.SeriesDescription = f"SIMULATED {description}"
    ds.ProtocolName = description
    ds.SeriesNumber = number
    ds.Modality = "MR"
    ds.Manufacturer = SIMULATOR
    ds.ManufacturerModelName = "csf24-training simulate"
    ds.BodyPartExamined = "HEAD"
    ds.MRAcquisitionType = "3D"
    ds.ScanningSequence = "GR"
    ds.SequenceVariant = "SP"
    ds.ScanOptions = ""
    ds.MagneticFieldStrength = "3"
    ds.EchoTrainLength = 1
    ds.ImageComments = _COMMENT
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
    ds.PositionReferenceIndicator = ""
    return ds


def _write_slice(
    common: Dataset,
    plane: np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    position: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    index: int,
    path: Path,
) -> Path:
    ds = Dataset()
    ds.update(common)
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["csf24-simulated", str(common.SeriesInstanceUID), str(index)])
    ds.InstanceNumber = index + 1
    ds.AcquisitionNumber = 1
    ds.ImagePositionPatient = [f"{v:.9g}" for v in position]
    ds.PixelData = plane.tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationVersionName = _IMPLEMENTATION
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def acquired_at(hours: float) -> datetime:
    """When a visit that many hours after the injection begins, local time of the fictitious hospital."""
    return INJECTED_AT + timedelta(hours=hours) if hours > 0 else _BASELINE_AT
