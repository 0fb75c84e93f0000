from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest

from service.dicom.derived import derive_refusal, to_part10
from service.dicom.refusal_notice import draw_page
from service.errors import Reason
from tests.builders.source_series import derivation_facts, source_series

REASONS = (
    Reason(
        code="FAT_NOT_FOUND",
        message="No orbital fat was found in the baseline; send a series that covers both orbits.",
        measured=12.0,
        limit="at least 200 mm³",
    ),
    Reason(code="NO_TRACER", message="No tracer was seen in the basal fluid.", measured=None, limit=0.05),
)
PICTURE = np.random.default_rng(0).integers(0, 255, (120, 300, 3), dtype=np.uint8)


def refuse(template=None, reasons=REASONS, *, facts=None, instances=None, picture=PICTURE):
    source = source_series()
    planes = source.planes if instances is None else ()
    notices = derive_refusal(
        template if template is not None else source.template,
        reasons,
        facts or derivation_facts(),
        source_series_uids=("1.2.826.0.1.1", "1.2.826.0.1.2"),
        source_instances=[(p.sop_class_uid, p.sop_instance_uid) for p in planes] if instances is None else instances,
        picture=picture,
    )
    return [pydicom.dcmread(BytesIO(to_part10(notice))) for notice in notices]


def test_a_refusal_is_one_colour_capture_in_the_study_of_the_patient():
    source = source_series()

    [notice] = refuse(source.template)

    assert notice.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (notice.StudyInstanceUID, notice.PatientID) == (source.template.StudyInstanceUID, "P1")
    assert notice.SeriesInstanceUID != source.template.SeriesInstanceUID
    assert notice.SeriesNumber == 9000 + 10 * source.template.SeriesNumber + 4
    assert (notice.PhotometricInterpretation, notice.pixel_array.shape[2]) == ("RGB", 3)
    assert [i.ReferencedSOPInstanceUID for i in notice.SourceImageSequence] == [
        p.sop_instance_uid for p in source.planes
    ]


def test_the_notice_says_what_was_refused_in_words_that_can_be_searched():
    [notice] = refuse()

    assert notice.SeriesDescription == "NO PREDICTION (csf24): FAT_NOT_FOUND, NO_TRACER"
    for reason in REASONS:
        assert f"{reason.code}: {reason.message}" in notice.ImageComments
    assert "Measured: 12.  Limit: at least 200 mm3." in notice.ImageComments
    assert list(notice.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "NO_PREDICTION"]
    assert (notice.SyntheticData, notice.BurnedInAnnotation) == ("YES", "YES")
    assert "FrameOfReferenceUID" not in notice
    assert not [e.keyword for e in notice.iterall() if e.keyword.startswith("Acquisition")]


def test_the_picture_is_shown_whole_below_the_text():
    [notice], [bare] = refuse(), refuse(picture=None)

    page, text = notice.pixel_array, bare.pixel_array
    height = text.shape[0]
    assert page.shape[1] == 1000
    np.testing.assert_array_equal(page[:height], text)
    picture = page[height : height + round(944 * 120 / 300), 28:972]
    assert abs(float(picture.mean()) - float(PICTURE.mean())) < 3
    assert picture.std() > 20


def test_every_reason_has_its_place_on_the_page():
    """More reasons and longer ones make a longer page; no line runs out of it."""
    few = draw_page(REASONS[:1], derivation_facts(), None)
    many = draw_page(REASONS * 4, derivation_facts(), None)
    long = draw_page([Reason(code="LONG", message="many words in one sentence " * 40)], derivation_facts(), None)

    assert few.shape[0] < many.shape[0]
    assert few.shape[0] < long.shape[0]
    for page in (few, many, long):
        assert page[:, -20:].max() == 0
        assert page[:, :20].max() == 0
        assert page[-20:].max() == 0
        assert (page.max(axis=2) > 128).mean() > 0.005


def test_a_refusal_by_headers_alone_needs_no_picture_and_no_instances():
    [notice] = refuse(instances=(), picture=None)

    assert "SourceImageSequence" not in notice
    assert notice.pixel_array.max() > 200


def test_a_retry_gives_the_same_notice_and_other_settings_another():
    def contents(facts):
        return [
            to_part10(notice)
            for notice in derive_refusal(
                source_series().template,
                REASONS,
                facts,
                source_series_uids=("1.2", "1.3"),
                source_instances=(),
                picture=PICTURE,
            )
        ]

    assert contents(derivation_facts()) == contents(derivation_facts())
    first, second = refuse()[0], refuse(facts=derivation_facts(fingerprint="0" * 64))[0]
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_many_long_codes_are_cut_to_the_length_of_the_description():
    reasons = [Reason(code=f"A_RATHER_LONG_CODE_{n}", message="m" * 900) for n in range(20)]

    [notice] = refuse(reasons=reasons)

    assert len(notice.SeriesDescription) == 64
    assert len(notice.DerivationDescription) <= 1024
    assert len(notice.ImageComments) <= 10240


def test_a_template_with_malformed_values_is_answered_all_the_same():
    template = source_series(
        PatientName="Ⅳ^Β^Г^D^E^F^G=b=c=d", SpecificCharacterSet="ISO_IR 192", PatientSex="?", BodyPartExamined=None
    ).template

    [notice] = refuse(template)

    assert str(notice.PatientName) == "Ⅳ^Β^Г^D^E F G=b=c"
    assert notice.PatientSex == ""
    assert notice["Laterality"].is_empty


def test_a_refusal_without_a_reason_is_a_programming_error():
    with pytest.raises(ValueError, match="at least one reason"):
        refuse(reasons=())
