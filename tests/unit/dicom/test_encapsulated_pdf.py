"""The page for print as a DICOM object, parsed from its bytes."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest

from service.dicom.derived import derive_prediction, to_part10
from service.dicom.facts import OutputSelection
from service.dicom.patient_words import patient_words
from tests.builders.source_series import (
    FAT,
    PAGE,
    QUALITY,
    REFLUX,
    derivation_facts,
    enhanced_source_series,
    restored_for,
    source_pair,
    source_series,
)

PDF = OutputSelection(secondary_capture=False, encapsulated_pdf=True)


def part10(pair, page=PAGE, outputs=PDF, **facts):
    made = derive_prediction(
        *pair,
        restored_for(pair[0]),
        derivation_facts(**facts),
        outputs,
        fat_baseline=FAT,
        reflux=REFLUX,
        quality=QUALITY,
        page=page,
    )
    return [to_part10(dataset) for dataset in made]


def parsed(*arguments, **named):
    return [pydicom.dcmread(BytesIO(content)) for content in part10(*arguments, **named)]


def test_it_is_a_series_of_its_own_in_the_patient_s_study():
    baseline, delayed = pair = source_pair()
    *images, document = parsed(pair, outputs=OutputSelection(encapsulated_pdf=True))
    assert document.SOPClassUID == pydicom.uid.EncapsulatedPDFStorage
    assert (document.Modality, document.PatientID) == ("DOC", "P1")
    assert document.StudyInstanceUID == baseline.summary.header.study_instance_uid
    others = {image.SeriesInstanceUID for image in images} | {s.summary.series_instance_uid for s in pair}
    assert document.SeriesInstanceUID not in others
    assert document.SeriesNumber not in {image.SeriesNumber for image in images}
    assert document.SeriesDescription == "PREDICTED 24 h page (csf24 volume3d) - not acquired"
    [elsewhere] = parsed(pair, outputs=OutputSelection(secondary_capture=False, encapsulated_pdf=True, study="delayed"))
    assert elsewhere.StudyInstanceUID == delayed.summary.header.study_instance_uid


@pytest.mark.parametrize("page", [PAGE, PAGE + b"\n"], ids=["one length", "a byte more"])
def test_the_page_is_in_it_and_its_length_without_padding(page):
    [document] = parsed(source_pair(), page)
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == page
    assert len(document.EncapsulatedDocument) % 2 == 0


def test_it_names_every_image_of_both_series_once():
    pair = enhanced_source_series(), source_series(study=2)
    [document] = parsed(pair)
    named = [item.ReferencedSOPInstanceUID for item in document.SourceInstanceSequence]
    assert sorted(named) == sorted({plane.sop_instance_uid for series in pair for plane in series.planes})
    assert "RelatedSeriesSequence" not in document


def test_one_that_replaces_another_says_so_and_has_other_uids():
    pair = source_pair()
    [first], [second] = parsed(pair), parsed(pair, replaces=1, fingerprint="e" * 64)
    assert "rev 2" in second.SeriesDescription
    assert "REPLACES an earlier result" in second.DocumentTitle
    assert "REPLACES" not in first.DocumentTitle
    assert first.SOPInstanceUID != second.SOPInstanceUID and first.SeriesInstanceUID != second.SeriesInstanceUID


def test_a_retry_gives_the_same_bytes():
    assert part10(source_pair()) == part10(source_pair())


def test_asked_for_without_a_page_it_is_a_programming_error():
    with pytest.raises(ValueError, match="needs its page"):
        part10(source_pair(), None)


def words(**header):
    return dict(patient_words(source_series(**header).template))


def test_identity_is_told_as_results_have_it():
    told = words(
        PatientName="Mueller^Anna^Maria", PatientSex="F", StudyDescription="Head", AccessionNumber="A1",
        IssuerOfPatientID="HOSPITAL",
    )  # fmt: skip
    assert told == {
        "Patient": "Mueller, Anna Maria",
        "Patient ID": "P1 (issuer HOSPITAL)",
        "Born, sex": "1950-01-01, F",
        "Accession no.": "A1",
        "Study": "2024-05-14 Head",
    }


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (
            {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
            "Yamada, Tarou = 山田 太郎 = やまだ たろう",
        ),
        ({"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люкceмбypг"}, "Люкceмбypг"),
        ({"SpecificCharacterSet": "ISO_IR 126", "PatientName": "Διονυσιος^"}, "Διονυσιος"),
        ({"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Äneas^Rüdiger"}, "Äneas, Rüdiger"),
        ({"PatientName": "^Anna"}, "Anna"),
        ({"PatientName": ""}, "not stated"),
    ],
)
def test_names_of_any_character_set_are_read(header, name):
    assert words(**header)["Patient"] == name


def test_what_is_not_stated_is_said_to_be_so():
    told = words(PatientName=None, PatientBirthDate="", PatientSex="?", AccessionNumber="", StudyDate="")
    assert told["Born, sex"] == told["Accession no."] == told["Study"] == told["Patient"] == "not stated"
