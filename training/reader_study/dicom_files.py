"""An image pair as DICOM that says nothing of its source: every header is made anew and is the same for all.

What differs between two items is the code, the UIDs drawn for it, the place of the planes in the head and the
pixels. There are no dates; every value has a fixed length, so that every file has the same size. A line that says
what the picture must not be used for is burned into all pictures, real and predicted alike: a prediction without
its usual banner must not be taken for a scan where it strays into an archive.
"""

from __future__ import annotations

import uuid
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from service.dicom.derived_common import to_part10
from service.imaging.volume import Float32, Grid

STORED_PER_FAT_UNIT = 1000
"""Stored values per unit of median orbital fat, in every file."""

_WINDOW = (550, 1100)  # centre, width: from black to 1.1 times fat; the same for all, or it would tell them apart
_LARGEST = 2000
_IMPLEMENTATION = UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'urn:csf24:reader-study').int}")
_WORDS = "READER STUDY - NOT FOR DIAGNOSIS"
_FONT_SIZE = 11


class Identifiers:
    """UIDs of one length, drawn from a generator of the study's own."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 2])

    def draw(self) -> str:
        """``2.25.`` and a random UUID of 39 digits (ITU-T X.667)."""
        while True:
            digits = str(uuid.UUID(bytes=self._rng.bytes(16), version=4).int)
            if len(digits) == 39:
                return f"2.25.{digits}"


def item_files(
    code: str, planes: tuple[Float32, ...], grids: tuple[Grid, ...], names: tuple[str, ...], *,
    identifiers: Identifiers, simulated: bool,
) -> dict[str, bytes]:  # fmt: skip
    """File name -> DICOM file (PS3.10): a study of one series for each plane, one image each.

    Parameters
    ----------
    planes
        ``(rows, columns)`` in units of orbital fat.
    grids
        Where they lie, in a frame of the head.
    simulated
        Whether the study holds any simulated patient; said on all its images.
    """
    study, frame = identifiers.draw(), identifiers.draw()
    files = {}
    for number, (name, plane, grid) in enumerate(zip(names, planes, grids, strict=True), start=1):
        made = _header(code, name, number, simulated=simulated)
        made.StudyInstanceUID, made.FrameOfReferenceUID = study, frame
        made.SeriesInstanceUID, made.SOPInstanceUID = identifiers.draw(), identifiers.draw()
        _set_geometry(made, grid)
        _set_pixels(made, plane, simulated=simulated)
        _set_meta(made)
        files[f"{code}_{name}.dcm"] = to_part10(made)
    return files


def _header(code: str, plane: str, number: int, *, simulated: bool) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]  # both kinds are: cut, scaled, masked
    ds.SOPClassUID = MRImageStorage
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.StudyID = code
    ds.PatientName = f"READER STUDY^{code}"
    ds.PatientID = code
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Header made anew; pixels of the brain and around it only"
    ds.LongitudinalTemporalInformationModified = "REMOVED"
    ds.StudyDescription = f"{'SIMULATED ' if simulated else ''}{_WORDS}"
    ds.SeriesDescription = f"24 h {plane:<8} (may be predicted)".replace("  ", " ")
    ds.SeriesNumber, ds.InstanceNumber = number, 1
    ds.Modality = "MR"
    ds.Manufacturer = "csf24"
    ds.ManufacturerModelName = "reader study"
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "RM", "NONE", ""
    ds.MRAcquisitionType = "3D"
    ds.RepetitionTime = ds.EchoTime = ds.EchoTrainLength = None
    ds.PositionReferenceIndicator = ""
    ds.ImageComments = (
        "Either acquired 24 h after intrathecal contrast, or predicted by a model: the reader is blinded. "
        "Not for diagnosis." + (" SIMULATED patient." if simulated else "")
    )
    ds.BurnedInAnnotation = "NO"  # nothing that identifies; the words are the same in all
    ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = "00"
    return ds


def _set_geometry(ds: Dataset, grid: Grid) -> None:
    directions = grid.directions
    ds.ImageOrientationPatient = [_fixed(v, 6) for v in (*directions[:, 0], *directions[:, 1])]
    ds.ImagePositionPatient = [_fixed(v, 3) for v in grid.origin]
    ds.PixelSpacing = [_fixed(grid.spacing[1], 3), _fixed(grid.spacing[0], 3)]
    ds.SliceThickness = _fixed(grid.spacing[2], 3)


def _fixed(value: float, decimals: int) -> str:
    """A decimal string of a length that does not depend on the value."""
    return f"{value + 0.0:+010.{decimals}f}"


def _set_pixels(ds: Dataset, plane: Float32, *, simulated: bool) -> None:
    stored = np.clip(np.rint(plane * STORED_PER_FAT_UNIT), 0, _LARGEST).astype("<u2")
    strip = _strip(plane.shape[1], simulated)
    stored[: strip.shape[0]] = strip
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.WindowCenter, ds.WindowWidth = (str(v) for v in _WINDOW)
    ds.PixelData = stored.tobytes()


@cache
def _strip(columns: int, simulated: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    words = f"SIMULATED - {_WORDS}" if simulated else _WORDS
    image = Image.new("L", (columns, _FONT_SIZE + 4), 0)
    font = ImageFont.load_default(_FONT_SIZE)
    ImageDraw.Draw(image).text((columns // 2, 1), words, font=font, fill=255, anchor="ma")
    return np.asarray(np.rint(np.asarray(image, dtype=np.float64) / 255 * _WINDOW[1]), dtype="<u2")


def _set_meta(ds: Dataset) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.FileMetaInformationVersion = b"\x00\x01"
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = _IMPLEMENTATION
    ds.file_meta.ImplementationVersionName = "CSF24-READER"
