"""Every fault that the self-check exists for is put into a written object, and must be found."""

from __future__ import annotations

from functools import partial
from io import BytesIO

import numpy as np
import pydicom
import pytest

from service.dicom.banner import banner
from service.dicom.derived import derive_prediction, to_part10
from service.dicom.facts import OutputSelection
from service.dicom.headers import read_header
from service.dicom.read_back import verify_objects
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series
from service.errors import PermanentError, SelfCheckFailed
from tests.builders.dicom import classic_series, enhanced_series, legacy_converted_series, make_uid
from tests.builders.source_series import (
    FAT,
    PAGE,
    QUALITY,
    REFLUX,
    derivation_facts,
    enhanced_source_series,
    head_sized_volume,
    restored_for,
    slice_pair_for,
    source_pair,
    source_series,
)

EVERYTHING = OutputSelection(
    mr_image=True, parametric_map=True, structured_report="comprehensive", encapsulated_pdf=True
)


def written(pair, restored, outputs):
    made = derive_prediction(
        *pair, restored, derivation_facts(), outputs, fat_baseline=FAT, reflux=REFLUX, quality=QUALITY, page=PAGE
    )
    return [to_part10(dataset) for dataset in made]


def with_fault(contents, fault, index=2):
    """`fault` changes the parsed object at `index` in place."""
    dataset = pydicom.dcmread(BytesIO(contents[index]))
    fault(dataset)
    return [*contents[:index], to_part10(dataset), *contents[index + 1 :]]


def change(keyword, value):
    return lambda dataset: setattr(dataset, keyword, value)


def remove(keyword):
    return lambda dataset: delattr(dataset, keyword)


def paint(rows, columns, value):
    def fault(dataset):
        pixels = dataset.pixel_array.copy()
        pixels[rows, columns] = value
        dataset.PixelData = pixels.tobytes()

    return fault


def without_banner(dataset):
    truth = restored_for(source_pair()[0]).predicted[0].array[2]
    dataset.PixelData = np.rint(truth).astype("<u2").tobytes()


def faint(dataset):
    pixels = dataset.pixel_array.copy()
    pixels[STRIP] //= 4
    dataset.PixelData = pixels.tobytes()


def halved(dataset):
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]


def filed_in_source(dataset):
    dataset.SeriesInstanceUID = source_pair()[0].summary.series_instance_uid


def flipped(dataset):
    dataset.PixelData = dataset.pixel_array[:, ::-1].tobytes()


def moved_by(millimetres):
    def fault(dataset):
        dataset.ImagePositionPatient = [float(v) + millimetres for v in dataset.ImagePositionPatient]

    return fault


def turned(dataset):
    orientation = [float(v) for v in dataset.ImageOrientationPatient]
    dataset.ImageOrientationPatient = [*orientation[3:], *orientation[:3]]


def source_swapped(dataset):
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = source_pair()[0].planes[0].sop_instance_uid


def one_series_only(dataset):
    del dataset.RelatedSeriesSequence[1]


STRIP = slice(0, banner(96, 80, simulated_training=False).shape[0])

IMAGE_FAULTS = {
    # what is wrong: (how it is made, what the check must name)
    "another patient": (change("PatientID", "P2"), "PatientID"),
    "no patient": (change("PatientID", ""), "PatientID"),
    "another birth date": (change("PatientBirthDate", "19510101"), "PatientBirthDate"),
    "another name": (change("PatientName", "Somebody^Else"), "PatientName"),
    "no name": (change("PatientName", ""), "PatientName"),
    "another frame of reference": (change("FrameOfReferenceUID", "1.2.3"), "FrameOfReferenceUID"),
    "no frame of reference": (remove("FrameOfReferenceUID"), "FrameOfReferenceUID"),
    "moved by 0.02 mm": (moved_by(0.02), "ImagePositionPatient"),
    "moved by a head": (moved_by(200), "not where the prediction is"),
    "no position": (remove("ImagePositionPatient"), "ImagePositionPatient"),
    "rows and columns swapped": (turned, "not where the prediction is"),
    "pixel spacing swapped": (change("PixelSpacing", ["0.9", "1.1"]), "PixelSpacing"),
    "slices too far apart": (change("SpacingBetweenSlices", "2.6"), "SpacingBetweenSlices"),
    "mirrored": (flipped, "PixelData"),
    "one pixel off": (paint(80, 40, 7), "PixelData"),
    "a second strip at the bottom": (paint(slice(-8, None), slice(None), 1000), "PixelData"),
    "no banner": (without_banner, "banner is missing"),
    "a strip without words": (paint(STRIP, slice(None), 0), "banner is not legible"),
    "a white strip": (paint(STRIP, slice(None), 1000), "banner is not legible"),
    "a banner too dark to see": (faint, "banner is not legible"),
    "another slope": (change("RescaleSlope", "1.01"), "PixelData"),
    "another intercept": (change("RescaleIntercept", "5"), "PixelData"),
    "not synthetic": (change("SyntheticData", "NO"), "SyntheticData"),
    "says nothing of synthesis": (remove("SyntheticData"), "SyntheticData"),
    "an original": (change("ImageType", ["ORIGINAL", "PRIMARY"]), "ImageType"),
    "a primary": (change("ImageType", ["DERIVED", "PRIMARY"]), "ImageType"),
    "no burned-in annotation": (change("BurnedInAnnotation", "NO"), "BurnedInAnnotation"),
    "an acquired description": (change("SeriesDescription", "T1 3D"), "SeriesDescription"),
    "an acquisition date": (change("AcquisitionDate", "20240514"), "AcquisitionDate"),
    "no equipment": (change("ContributingEquipmentSequence", []), "ContributingEquipmentSequence"),
    "the source of another plane": (source_swapped, "SourceImageSequence"),
    "no source": (remove("SourceImageSequence"), "SourceImageSequence"),
    "the delayed series is not named": (one_series_only, "both source series"),
    "filed in the source series": (filed_in_source, "SeriesInstanceUID"),
    "no pixels": (remove("PixelData"), "cannot be read back"),
    "half of the pixels": (halved, "cannot be read back"),
}


@pytest.fixture(scope="module")
def captures():
    pair = source_pair()
    restored = restored_for(pair[0])
    return written(pair, restored, OutputSelection()), pair[0], restored


@pytest.fixture(scope="module")
def maps():
    pair = source_pair()
    restored = restored_for(pair[0])
    return written(pair, restored, OutputSelection(secondary_capture=False, parametric_map=True)), pair[0], restored


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal", "oblique"])
@pytest.mark.parametrize("study", ["baseline", "delayed"])
def test_what_the_writer_makes_passes(orientation, study):
    pair = source_pair(head_sized_volume(orientation))
    restored = restored_for(pair[0])
    for report in ("basic-text", "comprehensive"):
        outputs = OutputSelection(mr_image=True, parametric_map=True, structured_report=report, study=study)
        verify_objects(written(pair, restored, outputs), pair[0], restored)


def test_planes_of_a_multi_frame_source_and_of_a_slice_pair_model_pass():
    enhanced = enhanced_source_series(), source_series(study=2)
    restored = restored_for(enhanced[0])
    verify_objects(written(enhanced, restored, EVERYTHING), enhanced[0], restored)

    pair = source_pair()
    planes = slice_pair_for(pair[0])
    verify_objects(written(pair, planes, EVERYTHING), pair[0], planes)


@pytest.mark.parametrize(
    "make",
    [
        classic_series,
        enhanced_series,
        legacy_converted_series,
        partial(classic_series, rescale=(2.36166056166056, 0.0)),
        partial(classic_series, manufacturer="Philips", rescale=(2.0, 0.0), philips_scale_slope=0.004),
        partial(classic_series, InstanceNumber=lambda k: 9 - k),
    ],
    ids=["classic", "enhanced", "legacy converted", "rescaled", "Philips floating point", "numbered downwards"],
)
@pytest.mark.parametrize("orientation", ["sagittal", "oblique"])
def test_a_prediction_for_a_series_as_the_reader_decodes_it_passes(make, orientation):
    datasets = make(head_sized_volume(orientation))
    baseline = read_series(datasets, summarise([read_header(dataset) for dataset in datasets]))
    restored = restored_for(baseline)

    verify_objects(written((baseline, source_series(study=2)), restored, EVERYTHING), baseline, restored)


def test_names_and_dates_that_the_writer_repaired_pass():
    pair = source_pair(PatientName="A^B^C^D^E^F=b=c=" + "d" * 90, PatientBirthDate="not known", PatientSex="x")
    restored = restored_for(pair[0])

    verify_objects(written(pair, restored, EVERYTHING), pair[0], restored)


@pytest.mark.parametrize(("fault", "named"), IMAGE_FAULTS.values(), ids=IMAGE_FAULTS.keys())
def test_a_fault_in_one_image_is_found(captures, fault, named):
    contents, baseline, restored = captures

    with pytest.raises(SelfCheckFailed, match=named):
        verify_objects(with_fault(contents, fault), baseline, restored)


@pytest.mark.parametrize("millimetres", [0.0, 0.005])
def test_a_position_within_tolerance_passes(captures, millimetres):
    contents, baseline, restored = captures

    verify_objects(with_fault(contents, moved_by(millimetres)), baseline, restored)


def test_a_missing_and_a_doubled_plane_are_found(captures):
    contents, baseline, restored = captures

    def doubled(dataset):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = make_uid("another")

    for faulty in (contents[:-1], [*contents, contents[2]], [*contents, with_fault(contents, doubled)[2]]):
        with pytest.raises(SelfCheckFailed):
            verify_objects(faulty, baseline, restored)


def test_a_plane_numbered_like_another_is_found(captures):
    contents, baseline, restored = captures

    with pytest.raises(SelfCheckFailed, match="missing or doubled"):
        verify_objects(with_fault(contents, change("InstanceNumber", 1)), baseline, restored)


def test_two_planes_with_each_others_pixels_are_found(captures):
    contents, baseline, restored = captures
    first, second = (pydicom.dcmread(BytesIO(content)) for content in contents[1:3])
    first.PixelData, second.PixelData = second.PixelData, first.PixelData

    with pytest.raises(SelfCheckFailed, match="PixelData"):
        verify_objects([contents[0], to_part10(first), to_part10(second), *contents[3:]], baseline, restored)


def frame_moved(dataset):
    item = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    item.ImagePositionPatient = [float(v) + 0.05 for v in item.ImagePositionPatient]


def frame_source_swapped(dataset):
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[1].DerivationImageSequence = frames[2].DerivationImageSequence


def frames_swapped(dataset):
    frame = dataset.Rows * dataset.Columns * 4
    pixels = dataset.FloatPixelData
    dataset.FloatPixelData = pixels[frame : 2 * frame] + pixels[:frame] + pixels[2 * frame :]


def negated(dataset):
    dataset.FloatPixelData = (-np.frombuffer(dataset.FloatPixelData, "<f4")).tobytes()


@pytest.mark.parametrize(
    "fault", [frame_moved, frame_source_swapped, frames_swapped, negated, change("SyntheticData", "NO")]
)
def test_a_fault_in_a_parametric_map_is_found(maps, fault):
    contents, baseline, restored = maps

    with pytest.raises(SelfCheckFailed):
        verify_objects(with_fault(contents, fault, index=0), baseline, restored)


@pytest.mark.parametrize("report", ["basic-text", "comprehensive"])
def test_a_report_on_another_patient_or_without_its_sources_is_found(report):
    pair = source_pair()
    restored = restored_for(pair[0])
    contents = written(pair, restored, OutputSelection(secondary_capture=False, structured_report=report))

    for fault in (change("PatientID", "P2"), remove("PertinentOtherEvidenceSequence")):
        with pytest.raises(SelfCheckFailed):
            verify_objects(with_fault(contents, fault, index=0), pair[0], restored)


def no_page(dataset):
    dataset.EncapsulatedDocument = b"no page!"
    dataset.EncapsulatedDocumentLength = 8


def two_pages(dataset):
    dataset.EncapsulatedDocument = PAGE.replace(b"%%EOF", b"/Type /Page\n %%EOF")
    dataset.EncapsulatedDocumentLength = len(dataset.EncapsulatedDocument)


def cut_off(dataset):
    dataset.EncapsulatedDocument = PAGE[: len(PAGE) // 4 * 2]
    dataset.EncapsulatedDocumentLength = len(dataset.EncapsulatedDocument)


def baseline_only(dataset):
    dataset.SourceInstanceSequence = dataset.SourceInstanceSequence[: len(source_pair()[0].planes)]


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (change("PatientID", "P2"), "PatientID"),
        (filed_in_source, "SeriesInstanceUID"),
        (baseline_only, "SourceInstanceSequence"),
        (remove("SourceInstanceSequence"), "SourceInstanceSequence"),
        (change("SyntheticData", "NO"), "SyntheticData"),
        (change("SeriesDescription", "Report"), "SeriesDescription"),
        (change("DocumentTitle", "Report"), "DocumentTitle"),
        (change("AcquisitionDateTime", "20240515"), "AcquisitionDateTime"),
        (change("BurnedInAnnotation", "NO"), "BurnedInAnnotation"),
        (change("MIMETypeOfEncapsulatedDocument", "text/plain"), "MIMEType"),
        (change("EncapsulatedDocumentLength", 5), "EncapsulatedDocumentLength"),
        (no_page, "EncapsulatedDocument"),
        (two_pages, "EncapsulatedDocument"),
        (cut_off, "EncapsulatedDocument"),
        (remove("EncapsulatedDocument"), "cannot be read back"),
    ],
)
def test_a_fault_in_an_encapsulated_pdf_is_found(fault, named):
    pair = source_pair()
    restored = restored_for(pair[0])
    contents = written(pair, restored, OutputSelection(secondary_capture=False, encapsulated_pdf=True))
    verify_objects(contents, pair[0], restored)

    with pytest.raises(SelfCheckFailed, match=named):
        verify_objects(with_fault(contents, fault, index=0), pair[0], restored)


def test_bytes_that_are_no_dicom_are_found(captures):
    contents, baseline, restored = captures

    with pytest.raises(SelfCheckFailed, match="cannot be read back"):
        verify_objects([*contents[:-1], b"nothing"], baseline, restored)


def test_a_failed_self_check_is_permanent_and_names_no_patient(captures):
    contents, baseline, restored = captures

    with pytest.raises(PermanentError) as failure:
        verify_objects(with_fault(contents, change("PatientName", "Somebody^Else")), baseline, restored)

    assert "Somebody" not in str(failure.value)
    assert "Tester" not in str(failure.value)
    assert "PatientName" in str(failure.value)
