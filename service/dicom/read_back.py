"""Reads derived objects back from their bytes, as a receiver would, and holds them against what they must say.

Nothing that the writer computed is used: geometry is recomputed from the source's planes and grid, real values from the
stored ones through the rescale in the file, and the banner is found where the pixels differ from the prediction.
A fault of the writer then stops a case before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import EncapsulatedPDFStorage, MRImageStorage, ParametricMapStorage, SecondaryCaptureImageStorage

from service.dicom.header_values import texts
from service.dicom.series import SourceSeries
from service.errors import SelfCheckFailed
from service.imaging.recipe_types import RestoredPrediction
from service.imaging.volume import Float64, Grid, Volume

POSITION_TOLERANCE_MM = 0.01
DIRECTION_TOLERANCE = 1e-4
OFF_GRID_TOLERANCE = 0.1  # of a voxel: the reader fits a grid to planes that scatter a little
RATIO_TOLERANCE = 1e-4  # of the largest value of a parametric map; float32 and one division
LARGEST_BANNER = 0.4  # of the rows
_LETTERS = (0.01, 0.6)  # share of a banner's pixels that are brighter than half the window

_IMAGES = (SecondaryCaptureImageStorage, MRImageStorage)


def verify_objects(objects: Sequence[bytes], baseline: SourceSeries, restored: RestoredPrediction) -> None:
    """Check every object of a prediction, and that none is missing or doubled.

    Parameters
    ----------
    objects
        Part 10 files.

    Raises
    ------
    SelfCheckFailed
        With the SOP class and the attribute that is wrong; no values of the patient.
    """
    try:
        _verify([pydicom.dcmread(BytesIO(content)) for content in objects], baseline, restored)
    except (AttributeError, LookupError, TypeError, ValueError, InvalidDicomError) as error:
        # Whatever cannot even be read that way is no less wrong than a wrong value.
        raise SelfCheckFailed(f"an object cannot be read back ({type(error).__name__})") from error


def _verify(datasets: Sequence[Dataset], baseline: SourceSeries, restored: RestoredPrediction) -> None:
    uids = [str(dataset.SOPInstanceUID) for dataset in datasets]
    _require(len(set(uids)) == len(uids), "objects", "SOPInstanceUID")
    for dataset in datasets:
        _verify_header(dataset, baseline)
        if dataset.SOPClassUID in _IMAGES:
            _verify_image(dataset, baseline, restored)
        elif dataset.SOPClassUID == ParametricMapStorage:
            _verify_map(dataset, baseline, restored)
        elif dataset.SOPClassUID == EncapsulatedPDFStorage:
            _verify_page(dataset)
    _verify_coverage(datasets, restored)


def _verify_header(dataset: Dataset, baseline: SourceSeries) -> None:
    """Patient, and the two source series."""
    name = _name(dataset)
    template = baseline.template
    meta = dataset.file_meta
    _require(meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID, name, "file meta information")
    _require(texts(dataset, "PatientID") == texts(template, "PatientID"), name, "PatientID")
    born, written = (_letters(texts(d, "PatientBirthDate")) for d in (template, dataset))
    _require(written in ("", born), name, "PatientBirthDate")  # a malformed date is left out
    if dataset.StudyInstanceUID == template.get("StudyInstanceUID"):
        given, written = (_letters(texts(d, "PatientName")) for d in (template, dataset))
        # A name that is too long or has too many parts is cut, never changed.
        _require(given.startswith(written) and bool(written) == bool(given), name, "PatientName")
    if dataset.SOPClassUID == EncapsulatedPDFStorage:
        _verify_instances(dataset, baseline)
        return
    named = _named_series(dataset)
    _require(baseline.summary.series_instance_uid in named and len(named) == 2, name, "reference to both source series")
    _require(str(dataset.SeriesInstanceUID) not in named, name, "SeriesInstanceUID")


def _named_series(dataset: Dataset) -> set[str]:
    """Series UIDs of what the object says it was made from: related series of images, evidence of documents."""
    evidence = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
    items = [
        *dataset.get("RelatedSeriesSequence", []),
        *(series for key in evidence for study in dataset.get(key, []) for series in study.ReferencedSeriesSequence),
    ]
    return {str(item.SeriesInstanceUID) for item in items}


def _verify_instances(dataset: Dataset, baseline: SourceSeries) -> None:
    """A document that names instances, and no series: all of the baseline, and others besides."""
    named = {str(item.ReferencedSOPInstanceUID) for item in dataset.get("SourceInstanceSequence", [])}
    own = {plane.sop_instance_uid for plane in baseline.planes}
    _require(own < named, _name(dataset), "SourceInstanceSequence")
    _require(
        str(dataset.SeriesInstanceUID) != baseline.summary.series_instance_uid, _name(dataset), "SeriesInstanceUID"
    )


def _verify_page(dataset: Dataset) -> None:
    """One whole PDF page, marked like an image; what stands on it, only a reader of PDF could say."""
    name = _name(dataset)
    _require(dataset.get("SyntheticData") == "YES", name, "SyntheticData")
    _require("PREDICTED" in str(dataset.get("SeriesDescription", "")), name, "SeriesDescription")
    _require("PREDICTED" in str(dataset.get("DocumentTitle", "")), name, "DocumentTitle")
    _require("AcquisitionDate" not in dataset and not dataset.AcquisitionDateTime, name, "AcquisitionDateTime")
    _require(dataset.get("BurnedInAnnotation") == "YES", name, "BurnedInAnnotation")
    _require(dataset.MIMETypeOfEncapsulatedDocument == "application/pdf", name, "MIMETypeOfEncapsulatedDocument")
    page, length = bytes(dataset.EncapsulatedDocument), int(dataset.EncapsulatedDocumentLength)
    _require(len(page) == length + length % 2, name, "EncapsulatedDocumentLength")
    whole = page.startswith(b"%PDF-") and page[:length].rstrip().endswith(b"%%EOF")
    _require(whole and page.count(b"/Type /Page\n") == 1, name, "EncapsulatedDocument")


def _verify_marks(dataset: Dataset, *, banner: bool) -> None:
    """What tells a reader, human or not, that the image was not acquired."""
    name = _name(dataset)
    _require(dataset.get("SyntheticData") == "YES", name, "SyntheticData")
    _require(list(dataset.get("ImageType", []))[0:1] == ["DERIVED"], name, "ImageType")
    _require("PREDICTED" in str(dataset.get("SeriesDescription", "")), name, "SeriesDescription")
    _require("AcquisitionDate" not in dataset and "AcquisitionDateTime" not in dataset, name, "AcquisitionDate")
    if banner:
        _require(dataset.get("BurnedInAnnotation") == "YES", name, "BurnedInAnnotation")
        _require(list(dataset.ImageType)[1:2] == ["SECONDARY"], name, "ImageType")
    processed = [
        item
        for item in dataset.get("ContributingEquipmentSequence", [])
        if any(code.CodeValue == "109102" for code in item.get("PurposeOfReferenceCodeSequence", []))
    ]
    _require(bool(processed), name, "ContributingEquipmentSequence")


def _verify_image(dataset: Dataset, baseline: SourceSeries, restored: RestoredPrediction) -> None:
    name = _name(dataset)
    _verify_marks(dataset, banner=True)
    volume, k = _verify_plane(
        name,
        baseline,
        restored.predicted,
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        position=_floats(dataset, "ImagePositionPatient", 3),
        orientation=_floats(dataset, "ImageOrientationPatient", 6),
        spacing=_floats(dataset, "PixelSpacing", 2),
    )
    between = float(dataset.SpacingBetweenSlices) - volume.grid.spacing[2]
    _require(abs(between) <= POSITION_TOLERANCE_MM, name, "SpacingBetweenSlices")
    own_plane = k if len(restored.predicted) == 1 else None
    _verify_sources(name, dataset.get("SourceImageSequence", []), baseline, own_plane)
    _verify_pixels(dataset, volume.array[k])


def _verify_map(dataset: Dataset, baseline: SourceSeries, restored: RestoredPrediction) -> None:
    """Frame by frame; the values must be the increase but for one common factor, the fat signal."""
    name = _name(dataset)
    _verify_marks(dataset, banner=False)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    pixels = np.frombuffer(dataset.FloatPixelData, dtype="<f4").reshape(-1, int(dataset.Rows), int(dataset.Columns))
    frames = dataset.PerFrameFunctionalGroupsSequence
    _require(len(frames) == len(pixels), name, "NumberOfFrames")
    products = np.zeros(2)
    found: list[tuple[Float64, Float64]] = []
    for frame, values in zip(frames, pixels, strict=True):
        increase, k = _verify_plane(
            name,
            baseline,
            restored.increase,
            frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
            position=_floats(frame.PlanePositionSequence[0], "ImagePositionPatient", 3),
            orientation=_floats(shared.PlaneOrientationSequence[0], "ImageOrientationPatient", 6),
            spacing=_floats(shared.PixelMeasuresSequence[0], "PixelSpacing", 2),
        )
        sources = frame.DerivationImageSequence[0].SourceImageSequence
        _verify_sources(name, sources, baseline, k if len(restored.increase) == 1 else None)
        mapped, truth = values.astype(np.float64), increase.array[k].astype(np.float64)
        products += (float((mapped * truth).sum()), float((mapped**2).sum()))
        found.append((mapped, truth))
    fat = products[0] / products[1] if products[1] > 0 else 1.0
    largest = max(float(np.abs(truth).max()) for _, truth in found)
    error = max(float(np.abs(mapped * fat - truth).max()) for mapped, truth in found)
    _require(fat > 0 and error <= RATIO_TOLERANCE * largest + 1e-9, name, "FloatPixelData")


def _verify_plane(
    name: str,
    baseline: SourceSeries,
    volumes: Sequence[Volume],
    *,
    frame_of_reference: str,
    position: Float64,
    orientation: Float64,
    spacing: Float64,
) -> tuple[Volume, int]:
    """Which plane of which volume this is, found by its place alone, after checking that place."""
    expected = baseline.volume.frame_of_reference_uid or baseline.summary.header.frame_of_reference_uid
    _require(bool(frame_of_reference) and expected in ("", frame_of_reference), name, "FrameOfReferenceUID")
    for volume in volumes:
        grid = baseline.volume.grid if len(volumes) == 1 else volume.grid
        i, j, k = grid.to_index(position[None])[0]
        on_grid = max(abs(i), abs(j), abs(k - round(k))) <= OFF_GRID_TOLERANCE and 0 <= round(k) < grid.shape[0]
        if on_grid and _same_directions(orientation, grid):
            break
    else:
        raise SelfCheckFailed(f"{name}: the plane is not where the prediction is (ImagePositionPatient, orientation)")
    plane = round(k)
    if len(volumes) == 1:
        gap = np.linalg.norm(position - np.asarray(baseline.planes[plane].position))
    else:
        gap = np.linalg.norm(position - grid.origin)
    _require(bool(gap <= POSITION_TOLERANCE_MM), name, "ImagePositionPatient")
    rows_columns = np.array([grid.spacing[1], grid.spacing[0]])
    _require(bool(np.abs(spacing - rows_columns).max() <= POSITION_TOLERANCE_MM), name, "PixelSpacing")
    return volume, plane


def _same_directions(orientation: Float64, grid: Grid) -> bool:
    directions = np.concatenate([grid.directions[:, 0], grid.directions[:, 1]])
    return bool(np.abs(orientation - directions).max() <= DIRECTION_TOLERANCE)


def _verify_sources(name: str, items: Iterable[Dataset], baseline: SourceSeries, k: int | None) -> None:
    """The source plane `k` on the same pixels is named; without one (None), all instances of the baseline are."""
    named = {(str(item.ReferencedSOPInstanceUID), item.get("ReferencedFrameNumber")) for item in items}
    if k is not None:
        plane = baseline.planes[k]
        _require(named == {(plane.sop_instance_uid, plane.frame_number)}, name, "SourceImageSequence")
    else:
        uids = {uid for uid, _ in named}
        _require(uids >= {plane.sop_instance_uid for plane in baseline.planes}, name, "SourceImageSequence")


def _verify_pixels(dataset: Dataset, truth: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Real values to half a stored step, except in a strip of black and white at the top."""
    name = _name(dataset)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    stored = dataset.pixel_array
    _require(stored.shape == truth.shape, name, "Rows and Columns")
    real = stored.astype(np.float64) * slope + intercept
    tolerance = slope / 2 + 1e-6 * max(1.0, float(np.abs(truth).max()))
    wrong = np.abs(real - truth) > tolerance
    rows = np.flatnonzero(wrong.any(axis=1))
    _require(rows.size > 0, name, "the burned-in banner is missing")
    height = int(rows[-1]) + 1
    _require(height <= LARGEST_BANNER * truth.shape[0], name, "PixelData differ from the prediction")
    centre, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    shown = (real[:height] - (centre - width / 2)) / width
    bright, dark = float((shown > 0.5).mean()), float((shown < 0.05).mean())
    whitest = float(shown.max())
    legible = _LETTERS[0] <= bright <= _LETTERS[1] and dark >= 1 - _LETTERS[1] - 0.2 and 0.8 <= whitest <= 1.05
    _require(legible, name, "the burned-in banner is not legible")


def _verify_coverage(datasets: Sequence[Dataset], restored: RestoredPrediction) -> None:
    """A series of images has every plane of the prediction, once."""
    planes = sum(volume.grid.shape[0] for volume in restored.predicted)
    for sop_class in _IMAGES:
        series = [d for d in datasets if d.SOPClassUID == sop_class]
        places = {tuple(d.ImagePositionPatient) + tuple(d.ImageOrientationPatient) for d in series}
        numbers = {int(d.InstanceNumber) for d in series}
        complete = not series or len(series) == len(places) == len(numbers) == planes
        _require(complete, str(sop_class.name), "planes are missing or doubled")
        _require(len({str(d.SeriesInstanceUID) for d in series}) <= 1, str(sop_class.name), "SeriesInstanceUID")


def _floats(dataset: Dataset, keyword: str, length: int) -> Float64:
    values = np.asarray([float(v) for v in dataset.get(keyword, None) or []], dtype=np.float64)
    _require(values.shape == (length,), _name(dataset), keyword)
    return values


def _letters(values: tuple[str, ...]) -> str:
    """What identifies, without separators and case."""
    return "".join(c for value in values for c in value.casefold() if c.isalnum())


def _name(dataset: Dataset) -> str:
    uid = dataset.get("SOPClassUID")
    return str(uid.name) if uid else "item"


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise SelfCheckFailed(f"{name}: {what} is not as it must be; nothing of this case was sent")
