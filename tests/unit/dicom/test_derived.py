"""What leaves the writer, read back from bytes with pydicom, GDCM (through SimpleITK) and highdicom."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import gdcm
import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from service.dicom.banner import banner
from service.dicom.derived import derive_prediction, to_part10
from service.dicom.facts import OutputSelection, RefluxFacts
from service.errors import InputRefused
from service.imaging.recipe_types import RestoredPrediction
from service.imaging.volume import Volume
from tests.builders.dicom import ramp_volume, to_bytes
from tests.builders.source_series import (
    FAT,
    MODEL,
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

ORIENTATIONS = ["axial", "sagittal", "coronal", "oblique"]
ALL_IMAGES = OutputSelection(secondary_capture=True, mr_image=True, parametric_map=True)
EVERYTHING = OutputSelection(mr_image=True, parametric_map=True, structured_report="comprehensive")


def derive(pair, restored=None, outputs=None, *, facts=None, reflux=REFLUX):
    """The objects as a receiver has them: parsed from their bytes."""
    baseline, delayed = pair
    made = derive_prediction(
        baseline,
        delayed,
        restored or restored_for(baseline),
        facts or derivation_facts(),
        outputs or OutputSelection(),
        fat_baseline=FAT,
        reflux=reflux,
        quality=QUALITY,
    )
    return [pydicom.dcmread(BytesIO(to_part10(dataset))) for dataset in made]


def real_values(dataset):
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return dataset.pixel_array.astype(np.float64) * slope + intercept


def below_banner(dataset):
    return banner(dataset.Rows, dataset.Columns, simulated_training=False).shape[0]


# --- place ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["secondary_capture", "mr_image"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_source_plane_has_a_predicted_plane_in_the_same_place(orientation, kind):
    pair = source_pair(head_sized_volume(orientation))
    outputs = OutputSelection(secondary_capture=kind == "secondary_capture", mr_image=kind == "mr_image")

    images = derive(pair, outputs=outputs)

    baseline = pair[0]
    assert len(images) == len(baseline.planes)
    for image, plane in zip(images, baseline.planes, strict=True):
        assert image.FrameOfReferenceUID == baseline.volume.frame_of_reference_uid
        np.testing.assert_allclose(image.ImagePositionPatient, plane.position, atol=1e-6)
        directions = baseline.volume.grid.directions
        np.testing.assert_allclose(image.ImageOrientationPatient, [*directions[:, 0], *directions[:, 1]], atol=1e-8)
        np.testing.assert_allclose(image.PixelSpacing, [1.1, 0.9], atol=1e-6)
        assert float(image.SpacingBetweenSlices) == pytest.approx(1.3)
        assert float(image.SliceThickness) == pytest.approx(1.3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_gdcm_reads_the_mr_images_as_a_volume_that_overlays_the_source(orientation, tmp_path):
    pair = source_pair(head_sized_volume(orientation))
    restored = restored_for(pair[0])
    for number, image in enumerate(derive(pair, restored, OutputSelection(secondary_capture=False, mr_image=True))):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)

    read = Volume.from_sitk(read_with_itk(tmp_path))

    assert read.grid.same_as(pair[0].volume.grid, tolerance_mm=1e-3)
    height = banner(96, 80, simulated_training=False).shape[0]
    truth = restored.predicted[0].array
    assert np.abs(read.array[:, height:] - truth[:, height:]).max() <= 0.5 + 1e-3
    assert np.abs(read.array[:, :height] - truth[:, :height]).max() > 100


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_itk_reads_the_secondary_captures_as_a_volume_that_overlays_the_source(orientation, tmp_path):
    pair = source_pair(head_sized_volume(orientation))
    for number, image in enumerate(derive(pair)):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)

    assert Volume.from_sitk(read_with_itk(tmp_path)).grid.same_as(pair[0].volume.grid, tolerance_mm=1e-3)


def test_gdcm_itself_leaves_out_the_geometry_of_secondary_captures(tmp_path):
    """ITK issue 4109, GDCM pull request 170: plain GDCM takes position and orientation from no secondary capture.

    ITK asks it to since 5.4 (see above). Tools on plain GDCM need the MR images. Should this test fail one day, GDCM
    has learnt it, and the manual's remark on secondary captures can go.
    """
    capture, mr = (
        derive(source_pair(head_sized_volume("sagittal")), outputs=outputs)[2]
        for outputs in (OutputSelection(), OutputSelection(secondary_capture=False, mr_image=True))
    )

    assert list(capture.ImagePositionPatient) == list(mr.ImagePositionPatient)
    assert read_geometry_with_gdcm(capture, tmp_path) == ([0, 0, 0], [1, 0, 0, 0, 1, 0])
    position, orientation = read_geometry_with_gdcm(mr, tmp_path)
    assert position == pytest.approx([-32.6, 20.0, -10.0])
    assert orientation == pytest.approx([0, 1, 0, 0, 0, -1])


def test_highdicom_reads_the_parametric_map_as_the_increase_in_fat_units_on_the_source_grid():
    pair = source_pair(head_sized_volume("oblique"))
    restored = restored_for(pair[0])
    [made] = derive(pair, restored, OutputSelection(secondary_capture=False, parametric_map=True))

    volume = hd.pm.ParametricMap.from_dataset(made).get_volume(dtype=np.float64)

    assert volume.frame_of_reference_uid == pair[0].volume.frame_of_reference_uid
    grid = pair[0].volume.grid
    nk, nj, ni = grid.shape
    indices = np.array([[i, j, k] for k in range(nk) for j in (0, 50, nj - 1) for i in (0, 33, ni - 1)])
    points = grid.to_world(indices)
    found = np.rint(volume.map_reference_to_indices(points)).astype(int)
    values = volume.array[tuple(found.T)]
    truth = restored.increase[0].array[tuple(indices[:, ::-1].T)] / FAT
    np.testing.assert_allclose(values, truth, atol=1e-6)
    assert np.abs(volume.map_reference_to_indices(points) - found).max() < 1e-3


def test_the_planes_of_a_slice_pair_model_have_their_own_place_in_the_baseline_frame():
    pair = source_pair()
    restored = slice_pair_for(pair[0])

    captures = derive(pair, restored)

    assert [image.InstanceNumber for image in captures] == [1, 2]
    assert len({image.SeriesInstanceUID for image in captures}) == 1
    for image, volume in zip(captures, restored.predicted, strict=True):
        assert image.FrameOfReferenceUID == pair[0].volume.frame_of_reference_uid
        np.testing.assert_allclose(image.ImagePositionPatient, volume.grid.origin, atol=1e-5)
        row = below_banner(image)
        assert np.abs(real_values(image)[row:] - volume.array[0][row:]).max() <= 0.51


def test_patient_orientation_letters_follow_the_image_axes():
    letters = {o: list(derive(source_pair(head_sized_volume(o)))[0].PatientOrientation) for o in ORIENTATIONS}

    assert letters["axial"] == ["L", "P"]
    assert letters["sagittal"] == ["P", "F"]
    assert letters["coronal"] == ["L", "F"]
    assert letters["oblique"] == ["LF", "PH"]


# --- order ----------------------------------------------------------------------------------------------------


def test_the_prediction_scrolls_in_the_order_of_its_source():
    pair = source_pair(InstanceNumber=lambda k: 40 - 2 * k)

    captures = derive(pair)

    numbers = [image.InstanceNumber for image in captures]
    assert numbers == [32, 34, 36, 38, 40]
    by_uid = {plane.sop_instance_uid: plane.instance_number for plane in pair[0].planes}
    for image in captures:
        assert by_uid[image.SourceImageSequence[0].ReferencedSOPInstanceUID] == image.InstanceNumber


def test_planes_of_one_multi_frame_instance_are_numbered_by_frame():
    pair = enhanced_source_series(), source_series(study=2)

    captures = derive(pair)

    assert [image.InstanceNumber for image in captures] == [1, 2, 3, 4, 5]
    assert [image.SourceImageSequence[0].ReferencedFrameNumber for image in captures] == [1, 2, 3, 4, 5]
    assert len({image.SourceImageSequence[0].ReferencedSOPInstanceUID for image in captures}) == 1


def test_instance_numbers_that_repeat_are_replaced_by_the_position_along_the_normal():
    captures = derive(source_pair(InstanceNumber=lambda k: 1))

    assert [image.InstanceNumber for image in captures] == [1, 2, 3, 4, 5]


# --- values ---------------------------------------------------------------------------------------------------


def test_whole_source_values_stay_whole():
    pair = source_pair()
    restored = restored_for(pair[0])

    for image, truth in zip(derive(pair, restored), restored.predicted[0].array, strict=True):
        assert float(image.RescaleSlope) == 1
        row = below_banner(image)
        assert (image.pixel_array[row:] == np.rint(truth[row:])).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v * 2.36166056166056,
        lambda v: v * 1e-4,
        lambda v: v * 40.0 - 60000,
        lambda v: v * 1e6,
        lambda v: v % 2,
    ],
    ids=["Philips slope", "tiny", "negative and wide", "huge", "two values"],
)
def test_any_range_of_values_survives_to_half_a_step(change):
    volume = head_sized_volume()
    pair = source_pair(volume)
    array = change(volume.array.astype(np.float64)).astype(np.float32)
    placed = pair[0].volume.with_array(array)
    baseline = replace(pair[0], volume=placed, window=None)
    increase = placed.with_array(np.full_like(array, np.ptp(array) / 7))
    restored = RestoredPrediction(predicted=(placed.with_array(array + increase.array),), increase=(increase,))

    captures = derive((baseline, pair[1]), restored)

    assert len({(str(image.RescaleSlope), str(image.RescaleIntercept)) for image in captures}) == 1
    for image, truth in zip(captures, restored.predicted[0].array, strict=True):
        row = below_banner(image)
        step = float(image.RescaleSlope)
        assert step <= max(1.0, np.ptp(array) / 30000)
        assert np.abs(real_values(image)[row:] - truth[row:]).max() <= step / 2 + 1e-6 * np.abs(truth).max()


def test_the_window_is_that_of_the_source_and_the_banner_uses_all_of_it():
    image = derive(source_pair())[0]

    strip = real_values(image)[: below_banner(image)]
    assert (float(image.WindowCenter), float(image.WindowWidth)) == (500, 1000)
    assert strip.min() == 0
    assert strip.max() > 950


def test_a_window_narrower_than_one_unit_is_declared_exact():
    volume = head_sized_volume()
    pair = source_pair(volume)
    small = pair[0].volume.with_array(volume.array * np.float32(1e-4))
    baseline = replace(pair[0], volume=small, window=(0.1, 0.2))

    image = derive((baseline, pair[1]), restored_for(baseline))[0]

    assert image.VOILUTFunction == "LINEAR_EXACT"


# --- marks ----------------------------------------------------------------------------------------------------


def test_every_image_says_that_it_was_predicted():
    images = derive(source_pair(), outputs=ALL_IMAGES)

    assert {image.SOPClassUID.name for image in images} == {
        "Secondary Capture Image Storage",
        "MR Image Storage",
        "Parametric Map Storage",
    }
    for image in images:
        assert image.SyntheticData == "YES"
        assert image.ImageType[0] == "DERIVED"
        assert image.SeriesDescription.startswith("PREDICTED 24 h")
        assert image.SeriesDescription.endswith("- not acquired")
        assert len(image.SeriesDescription) <= 64
        assert "NOT ACQUIRED" in image.ImageComments
        assert "not for diagnosis" in image.ImageComments
        assert MODEL.sha256 in image.DerivationDescription
        assert "1.5 h" in image.DerivationDescription
        equipment = image.ContributingEquipmentSequence[0]
        assert MODEL.sha256 in list(equipment.SoftwareVersions)
        if image.SOPClassUID.name != "Parametric Map Storage":
            assert list(image.ImageType[:2]) == ["DERIVED", "SECONDARY"]
            assert image.BurnedInAnnotation == "YES"
            assert "PREDICTION" in [code.CodeValue for code in image.DerivationCodeSequence]


def test_nothing_claims_an_acquisition():
    for made in derive(source_pair(), outputs=EVERYTHING):
        claims = [e.keyword for e in made.iterall() if e.keyword.startswith(("Acquisition", "FrameAcquisition"))]
        assert set(claims) <= {"AcquisitionContextSequence"}
        assert made.Manufacturer == "csf24"


def test_a_model_of_simulated_training_says_so_in_words_and_in_the_pixels():
    pair = source_pair(head_sized_volume(shape=(2, 128, 160)))
    simulated = derivation_facts(model=replace(MODEL, simulated_training=True))

    plain, marked = derive(pair)[0], derive(pair, facts=simulated)[0]

    assert "SIMULATED" in marked.ImageComments
    assert "SIMULATED" in marked.DerivationDescription
    assert "SIMULATED" not in plain.ImageComments + plain.DerivationDescription
    assert (plain.pixel_array != marked.pixel_array).any()


def test_a_long_model_name_gives_way_to_the_warning():
    facts = derivation_facts(model=replace(MODEL, name="m" * 80))

    image = derive(source_pair(), facts=facts)[0]

    assert len(image.SeriesDescription) == 64
    assert image.SeriesDescription.endswith(") - not acquired")


def test_a_result_that_replaces_an_earlier_one_says_so_wherever_it_is_read():
    first, second = (derive(source_pair(), outputs=ALL_IMAGES, facts=derivation_facts(replaces=n)) for n in (0, 1))
    assert not any("REPLACES" in image.ImageComments + image.DerivationDescription for image in first)
    for image in second:
        assert image.SeriesDescription.endswith(" rev 2) - not acquired")
        assert "REPLACES an earlier result" in image.DerivationDescription
    assert "REPLACES an earlier result" in second[0].ImageComments
    long = derivation_facts(model=replace(MODEL, name="m" * 80), replaces=1)
    assert derive(source_pair(), facts=long)[0].SeriesDescription.endswith("m rev 2) - not acquired")


def test_both_source_series_and_both_scanners_are_named():
    baseline = source_series(manufacturer="SIEMENS")
    delayed = source_series(study=2, series=7, manufacturer="Philips")

    for image in derive((baseline, delayed), outputs=ALL_IMAGES):
        related = {(i.StudyInstanceUID, i.SeriesInstanceUID) for i in image.RelatedSeriesSequence}
        assert related == {
            (s.summary.header.study_instance_uid, s.summary.series_instance_uid) for s in (baseline, delayed)
        }
        scanners = [
            item.Manufacturer
            for item in image.ContributingEquipmentSequence
            if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
        ]
        assert scanners == ["SIEMENS", "Philips"]


def test_every_plane_names_its_own_source_plane():
    pair = source_pair()

    for image, plane in zip(derive(pair), pair[0].planes, strict=True):
        [source] = image.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == plane.sop_instance_uid
        assert source.ReferencedSOPClassUID == plane.sop_class_uid
        assert source.SpatialLocationsPreserved == "YES"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert "ReferencedFrameNumber" not in source


def test_a_plane_of_a_slice_pair_model_names_all_instances_of_both_series():
    pair = source_pair()

    image = derive(pair, slice_pair_for(pair[0]))[0]

    named = {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence}
    assert named == {plane.sop_instance_uid for series in pair for plane in series.planes}
    assert {item.SpatialLocationsPreserved for item in image.SourceImageSequence} == {"NO"}


@pytest.mark.parametrize("study", ["baseline", "delayed"])
def test_frames_of_a_parametric_map_name_the_frames_of_a_multi_frame_source(study):
    pair = enhanced_source_series(), source_series(study=2)
    outputs = OutputSelection(secondary_capture=False, parametric_map=True, study=study)

    [made] = derive(pair, outputs=outputs)

    assert len(made.PerFrameFunctionalGroupsSequence) == 5
    for frame in made.PerFrameFunctionalGroupsSequence:
        [source] = frame.DerivationImageSequence[0].SourceImageSequence
        plane = pair[0].planes[source.ReferencedFrameNumber - 1]
        assert source.ReferencedSOPInstanceUID == plane.sop_instance_uid
        np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, plane.position, atol=1e-6)
    here, other = pair if study == "baseline" else pair[::-1]
    assert made.StudyInstanceUID == here.summary.header.study_instance_uid
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == here.summary.series_instance_uid
    [elsewhere] = made.StudiesContainingOtherReferencedInstancesSequence
    assert elsewhere.StudyInstanceUID == other.summary.header.study_instance_uid


def test_once_lossy_always_lossy():
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "8.5"}
    images = derive((source_series(), source_series(study=2, **lossy)), outputs=ALL_IMAGES)

    assert {(i.LossyImageCompression, str(i.LossyImageCompressionRatio)) for i in images} == {("01", "8.5")}
    assert {i.LossyImageCompression for i in derive(source_pair(), outputs=ALL_IMAGES)} == {"00"}


def test_the_mr_images_carry_the_sequence_of_the_baseline():
    image = derive(source_pair(), outputs=OutputSelection(secondary_capture=False, mr_image=True))[0]

    assert (image.Modality, image.ScanningSequence, list(image.SequenceVariant)) == ("MR", "GR", ["SP", "MP"])
    assert [float(v) for v in (image.RepetitionTime, image.EchoTime, image.FlipAngle)] == [8, 3.7, 8]
    assert float(image.MagneticFieldStrength) == 3


# --- study, patient and time ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("study", "side"), [("baseline", 0), ("delayed", 1)])
def test_objects_are_filed_in_the_chosen_study_but_stay_in_the_baseline_frame(study, side):
    pair = source_pair()
    outputs = replace(EVERYTHING, study=study)

    for made in derive(pair, outputs=outputs):
        assert made.StudyInstanceUID == pair[side].summary.header.study_instance_uid
        assert made.StudyID == str(side + 1)
        if "FrameOfReferenceUID" in made:
            assert made.FrameOfReferenceUID == pair[0].volume.frame_of_reference_uid


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg^^Dr."),
        ("ISO_IR 144", "Люкceмбypг^Роза"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_in_any_character_set_survive_in_it(character_set, name):
    pair = source_pair(SpecificCharacterSet=character_set, PatientName=name)

    for made in derive(pair, outputs=EVERYTHING):
        assert str(made.PatientName) == name
        expected = character_set if isinstance(character_set, list) else [character_set]
        written = made.SpecificCharacterSet
        assert ([written] if isinstance(written, str) else list(written)) == expected


def test_texts_that_the_source_character_set_cannot_write_turn_the_object_to_utf8():
    baseline = source_series(SpecificCharacterSet="ISO_IR 192", manufacturer="東芝")
    delayed = source_series(study=2, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")

    image = derive((baseline, delayed), outputs=OutputSelection(study="delayed"))[0]

    assert image.SpecificCharacterSet == "ISO_IR 192"
    assert str(image.PatientName) == "Müller^Jörg"
    assert image.ContributingEquipmentSequence[1].Manufacturer == "東芝"


MAY_LACK = (
    *("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "Manufacturer", "ScanningSequence", "SequenceVariant", "MRAcquisitionType"),
    *("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "EchoTrainLength", "SpecificCharacterSet"),
    *("SeriesNumber", "BodyPartExamined", "PositionReferenceIndicator", "SliceThickness"),
)
MALFORMED = {
    "PatientName": "A^B^C^D^E^F^G=b=c=d=e" + "x" * 90,
    "PatientBirthDate": "1950.02.31",
    "PatientSex": "female",
    "PatientAge": "74",
    "StudyDate": "2024-05-14",
    "StudyTime": "08:15:99",
    "StudyID": "a study number that is far too long",
    "AccessionNumber": "ACC-0123456789-0123456789",
    "ReferringPhysicianName": "x" * 80,
    "StudyDescription": "y" * 90,
    "BodyPartExamined": "Head & Neck!",
    "ScanOptions": "mixed case, commas",
    "EchoTrainLength": "1.5E9",
    "TimezoneOffsetFromUTC": "CET",
    "PositionReferenceIndicator": "z" * 90,
    "Manufacturer": "",
    "LossyImageCompression": "maybe",
}


def test_malformed_source_values_are_repaired_or_left_out():
    pair = source_pair(**MALFORMED)

    made = derive(pair, outputs=EVERYTHING)

    for dataset in made:
        assert (dataset.PatientID, dataset.AccessionNumber) == ("P1", MALFORMED["AccessionNumber"])
        assert (dataset.PatientBirthDate, dataset.PatientSex) == ("", "")
        assert (dataset.StudyDate, dataset.StudyTime) == ("20240514", "")
        assert str(dataset.PatientName).startswith("A^B^C^D^E F G=b=c")
        assert str(dataset.PatientName).count("=") == 2
        assert len(str(dataset.ReferringPhysicianName)) == 64
        assert not {"PatientAge", "TimezoneOffsetFromUTC"} & {e.keyword for e in dataset}


def test_a_source_that_lacks_everything_it_may_lack_still_gives_complete_objects():
    absent = dict.fromkeys(MAY_LACK)

    made = derive(source_pair(**absent), outputs=EVERYTHING)

    for dataset in made:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID", "AccessionNumber"):
            assert dataset[keyword].is_empty
    mr = next(d for d in made if d.SOPClassUID.name == "MR Image Storage")
    assert (mr.ScanningSequence, mr.SequenceVariant) == ("RM", "NONE")
    assert float(mr.SliceThickness) == pytest.approx(1.3)


def test_numbers_that_are_none_break_nothing():
    pair = source_pair(PatientWeight="0012345678", MagneticFieldStrength="0012345679")
    spoiled = to_bytes(pair[0].template).replace(b"0012345678", b"heavy     ").replace(b"0012345679", b"3 T       ")
    baseline = replace(pair[0], template=pydicom.dcmread(BytesIO(spoiled)))

    for dataset in derive((baseline, pair[1]), outputs=EVERYTHING):
        assert not {"PatientWeight", "MagneticFieldStrength"} & {e.keyword for e in dataset}


def test_without_a_study_there_is_nothing_to_file_in():
    pair = source_pair()
    del pair[0].template.StudyInstanceUID

    with pytest.raises(InputRefused, match="STUDY_UID_MISSING"):
        derive(pair)


def test_no_patient_data_reach_the_log(caplog, recwarn):
    derive(source_pair(**MALFORMED), outputs=EVERYTHING)
    derive(source_pair(PatientName="Nobody"), outputs=EVERYTHING)

    said = caplog.text + "".join(str(w.message) for w in recwarn)
    assert not any(secret in said for secret in ("ACC-0123", "A^B", "Nobody", "1950.02.31", "female", "P1"))


def test_dates_are_those_of_the_derivation_in_the_zone_of_the_source():
    at = datetime(2024, 5, 14, 23, 30, 5, 250000, tzinfo=UTC)
    pair = source_pair(TimezoneOffsetFromUTC="+0200")

    for made in derive(pair, outputs=EVERYTHING, facts=derivation_facts(derived_at=at)):
        assert (made.ContentDate, made.ContentTime) == ("20240515", "013005.250000")
        assert (made.SeriesDate, made.InstanceCreationDate) == ("20240515", "20240515")
        assert made.TimezoneOffsetFromUTC == "+0200"
        assert (made.StudyDate, made.StudyTime[:6]) == ("20240514", "080000")


def test_a_source_without_a_zone_gets_the_time_as_it_was_given():
    made = derive(source_pair())[0]

    assert (made.ContentDate, made.ContentTime) == ("20240514", "133721.250000")
    assert "TimezoneOffsetFromUTC" not in made


# --- retries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", ["basic-text", "comprehensive"])
def test_a_retry_gives_the_same_bytes(report):
    outputs = replace(EVERYTHING, structured_report=report)

    def run():
        pair = source_pair()
        return [
            to_part10(dataset)
            for dataset in derive_prediction(
                *pair,
                restored_for(pair[0]),
                derivation_facts(),
                outputs,
                fat_baseline=FAT,
                reflux=REFLUX,
                quality=QUALITY,
            )
        ]

    assert run() == run()


def test_another_model_gives_another_series_and_other_instances():
    pair = source_pair()
    first, second = derive(pair), derive(pair, facts=derivation_facts(fingerprint="0" * 64))

    def uids(objects):
        return {uid for o in objects for uid in (o.SeriesInstanceUID, o.SOPInstanceUID)}

    assert not uids(first) & uids(second)


def test_all_uids_of_a_case_are_distinct():
    made = derive(source_pair(), outputs=EVERYTHING)

    assert len({o.SOPInstanceUID for o in made}) == len(made)
    assert len({o.SeriesInstanceUID for o in made}) == 4
    assert len({o.SeriesNumber for o in made}) == 4


# --- reports --------------------------------------------------------------------------------------------------


def report_text(dataset):
    return "\n".join(str(e.value) for e in dataset.iterall() if e.keyword == "TextValue")


def test_the_text_report_has_case_model_times_index_checks_and_limits():
    outputs = OutputSelection(secondary_capture=False, structured_report="basic-text")

    [report] = derive(source_pair(), outputs=outputs)

    text = report_text(report)
    for phrase in (
        "c0123456789ab",
        "volume3d 0.1.0",
        MODEL.sha256,
        "1.50 h",
        "Model-derived ventricular reflux index 0.61, interval 0.44 to 0.83",
        "grade: 3 (the model's own bounds allow 3 to indeterminate)",
        "BRAIN_VOLUME: pass, measured 1.31, limit 0.6 to 2.2",
        "FAT_VARIABLE: warn, measured 0.31, limit at most 0.25",
        "NO_TRACER: pass, measured -",
        "Warning FAT_VARIABLE: Orbital fat varies",
        "Research use, not for diagnosis",
    ):
        assert phrase in text
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


@pytest.mark.parametrize("reflux", [None, RefluxFacts(index=None, grade_24h="not gradable", interval=None)])
def test_a_prediction_that_cannot_be_graded_is_reported_so(reflux):
    for kind in ("basic-text", "comprehensive"):
        outputs = OutputSelection(secondary_capture=False, structured_report=kind)
        [report] = derive(source_pair(), outputs=outputs, reflux=reflux)
        said = report_text(report) + "".join(e.value for e in report.iterall() if e.keyword == "CodeMeaning")
        assert "ot gradable" in said
        assert "NumericValue" not in [e.keyword for e in report.ContentSequence[-1].iterall()]


def test_highdicom_reads_the_measurement_report_with_index_interval_grade_and_algorithm():
    pair = source_pair()
    outputs = OutputSelection(secondary_capture=False, structured_report="comprehensive")

    [report] = derive(pair, outputs=outputs)

    parsed = hd.sr.ComprehensiveSR.from_dataset(report)
    assert isinstance(parsed.content, hd.sr.MeasurementReport)
    [group] = parsed.content.get_image_measurement_groups()
    [measurement] = group.get_measurements()
    assert measurement.name.meaning == "Model-derived ventricular reflux index"
    assert float(measurement.value) == pytest.approx(0.61)
    figures = {
        item.ConceptNameCodeSequence[0].CodeValue: float(item.MeasuredValueSequence[0].NumericValue)
        for item in measurement[0].ContentSequence
    }
    assert figures == {"371886008": pytest.approx(0.22), "371885007": pytest.approx(0.17)}
    [grade] = group.get_qualitative_evaluations()
    assert grade.value.value == "GRADE-3"
    assert MODEL.sha256 in report_text(report)
    named = {str(instance) for _, _, instance, _ in parsed.get_evidence()}
    assert named == {plane.sop_instance_uid for series in pair for plane in series.planes}


def test_reports_name_both_series_as_evidence_in_their_studies():
    pair = source_pair()
    for kind in ("basic-text", "comprehensive"):
        outputs = OutputSelection(secondary_capture=False, structured_report=kind, study="delayed")
        [report] = derive(pair, outputs=outputs)
        [current] = report.CurrentRequestedProcedureEvidenceSequence
        [other] = report.PertinentOtherEvidenceSequence
        assert current.StudyInstanceUID == report.StudyInstanceUID == pair[1].summary.header.study_instance_uid
        assert other.ReferencedSeriesSequence[0].SeriesInstanceUID == pair[0].summary.series_instance_uid


def test_letters_outside_ascii_in_our_own_texts_are_spelled_out():
    facts = derivation_facts(model=replace(MODEL, intended_use="Research ≤ 24 h × 1 – naïve"))
    outputs = OutputSelection(secondary_capture=False, structured_report="basic-text")

    [report] = derive(source_pair(), outputs=outputs, facts=facts)

    assert "Research <= 24 h x 1 - naive" in report_text(report)


# --- what is asked for ----------------------------------------------------------------------------------------


def test_only_what_is_selected_is_made():
    pair = source_pair()

    assert derive(pair, outputs=OutputSelection(secondary_capture=False)) == []
    kinds = [d.Modality for d in derive(pair, outputs=OutputSelection(secondary_capture=False, mr_image=True))]
    assert kinds == ["MR"] * 5


def test_a_prediction_on_another_grid_is_a_programming_error():
    pair = source_pair()
    elsewhere = restored_for(source_series(ramp_volume("sagittal", (5, 96, 80), origin=(0.0, 0.0, 0.0))))

    with pytest.raises(ValueError, match="baseline's grid"):
        derive(pair, elsewhere)


def read_geometry_with_gdcm(dataset, folder):
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    return list(image.GetOrigin()), list(image.GetDirectionCosines())


def read_with_itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()
