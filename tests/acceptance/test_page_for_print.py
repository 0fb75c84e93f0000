"""The page for print of real conversions says what their reports say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any

import pydicom
import pytest

from service.conversion import Conversion
from service.dicom.facts import OutputSelection
from service.imaging.volume import Volume
from service.pipeline import VolumePair
from service.report import CaseFacts, SeriesFacts
from tests.builders.conversions import convert_datasets, converter
from tests.builders.page import text_of_page
from tests.builders.patients import baseline_series, delayed_series, head_after, head_before
from tests.builders.source_series import DERIVED_AT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page for print")]

OUTPUTS = OutputSelection(encapsulated_pdf=True)
NAME = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller-Παπαδοπούλου^Жанна"}


@cache
def converted() -> Conversion:
    return convert_datasets(baseline_series(**NAME), delayed_series(**NAME), outputs=OUTPUTS)


def page_of(conversion: Conversion) -> bytes:
    assert conversion.page is not None
    return conversion.page


def reported(conversion: Conversion) -> Mapping[str, Any]:
    """The report as a reader of report.json has it."""
    return json.loads(json.dumps(conversion.report))  # type: ignore[no-any-return]


def test_the_page_goes_to_the_pacs_as_it_lies_beside_the_result() -> None:
    objects = [pydicom.dcmread(BytesIO(file.content)) for file in converted().files]
    (document,) = [made for made in objects if made.Modality == "DOC"]
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == page_of(converted())
    assert document.PatientName == NAME["PatientName"]


def test_the_page_says_what_the_report_says() -> None:
    said, report = text_of_page(page_of(converted())), reported(converted())
    passed = sum(check["passed"] for check in report["checks"])
    index = report["reflux"]["index"]
    graded = "Not gradable" if index is None else f"Index {index:.2f}"
    for part in (
        "PREDICTED 24 h IMAGE – NOT ACQUIRED",
        "SIMULATED TRAINING",
        "Müller-Παπαδοπούλου, Жанна",
        report["case_id"],
        f"{report['hours_after_injection']:.2f} h after injection",
        f"Checks: {passed} of {len(report['checks'])} passed",
        f"Warnings: {len(report['warnings']) or 'none'}",
        graded,
        f"{report['model']['name']} {report['model']['version']}, SHA-256 {report['model']['sha256'][:16]}",
        f"csf24 {report['software_version']}",
        report["intended_use"],
        *(warning["code"] for warning in report["warnings"]),
    ):
        assert part in said, part


def test_a_retry_draws_the_same_page() -> None:
    again = convert_datasets(baseline_series(**NAME), delayed_series(**NAME), outputs=OUTPUTS)
    assert again.page == page_of(converted())


def test_a_refusal_has_its_notice_and_no_page() -> None:
    twice = [*delayed_series()]
    for dataset, first in zip(twice, baseline_series(), strict=True):
        dataset.PixelData = first.PixelData
    refused = convert_datasets(baseline_series(), twice, outputs=OUTPUTS)
    assert refused.page is None
    assert [pydicom.dcmread(BytesIO(file.content)).Modality for file in refused.files] == ["OT"]


def facts_of(volume: Volume) -> SeriesFacts:
    return SeriesFacts(series_instance_uid="", study_instance_uid="", acquired_at=None, instances=len(volume.array))


def test_images_without_a_header_get_a_page_without_a_patient_and_only_if_it_is_asked_for() -> None:
    pair = VolumePair(baseline=head_before(), delayed=head_after())
    case = CaseFacts(
        case_id="sub-01",
        baseline=facts_of(pair.baseline),
        delayed=facts_of(pair.delayed),
        injection_time=None,
        hours_after_injection=1.5,
        software_version="test",
    )
    made = converter(outputs=OUTPUTS).convert_volumes(case, pair, made_at=DERIVED_AT)
    said = text_of_page(page_of(made))
    for part in ("not stated: the input is not DICOM", "1.50 h after injection", "sub-01, converted 2024-05-14 13:37"):
        assert part in said
    assert made.files == ()
    assert converter().convert_volumes(case, pair, made_at=DERIVED_AT).page is None
