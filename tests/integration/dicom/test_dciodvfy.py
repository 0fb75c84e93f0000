"""David Clunie's dciodvfy finds no error in any object that leaves the writer."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from service.dicom.derived import derive_prediction, derive_refusal, to_part10
from service.dicom.facts import OutputSelection, RefluxFacts
from service.errors import Reason
from tests.builders.programs import needs, required
from tests.builders.source_series import (
    FAT,
    MODEL,
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

pytestmark = [pytest.mark.needs_dicom3tools, needs("dciodvfy")]

ALLOWED = (
    # Synthetic Data (0008,001C) is younger than Debian's dicom3tools of 2022; the standard has it in SOP Common.
    "Error - </(0008,001c)> - Attribute with an even group number is not a recognized standard attribute",
)

KINDS = {
    "secondary capture": OutputSelection(),
    "MR image": OutputSelection(secondary_capture=False, mr_image=True),
    "parametric map": OutputSelection(secondary_capture=False, parametric_map=True),
    "basic text report": OutputSelection(secondary_capture=False, structured_report="basic-text"),
    "comprehensive report": OutputSelection(secondary_capture=False, structured_report="comprehensive"),
    "encapsulated PDF": OutputSelection(secondary_capture=False, encapsulated_pdf=True),
}


MAY_LACK = (
    *("PatientName", "PatientSex", "StudyID", "Manufacturer", "ScanningSequence", "SequenceVariant", "EchoTime"),
    *("RepetitionTime", "BodyPartExamined", "PositionReferenceIndicator", "SliceThickness"),
)
JAPANESE = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}
LOSSY = {
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "8",
    "LossyImageCompressionMethod": "ISO_15444_1",
}


def multi_frame_pair():
    return enhanced_source_series(), source_series(study=2)


def rescaled_pair():
    baseline, delayed = source_pair(head_sized_volume("oblique"))
    scaled = baseline.volume.with_array(baseline.volume.array * np.float32(2.3617))
    return replace(baseline, volume=scaled, window=(0.3, 0.5)), delayed


SOURCES = {
    "classic": (source_pair, restored_for),
    "sagittal and axial plane": (source_pair, slice_pair_for),
    "multi-frame": (multi_frame_pair, restored_for),
    "bare headers": (lambda: source_pair(**dict.fromkeys(MAY_LACK)), restored_for),
    "Japanese name": (lambda: source_pair(**JAPANESE), restored_for),
    "rescaled, narrow window, oblique": (rescaled_pair, restored_for),
    "lossy": (lambda: source_pair(**LOSSY), restored_for),
}


def errors_of(dataset, folder):
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    path.write_bytes(to_part10(dataset))
    ran = subprocess.run([required("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
    lines = (ran.stdout + ran.stderr).splitlines()
    assert len(lines) > 1, "dciodvfy said nothing: was the file read?"
    return [line for line in lines if line.startswith("Error") and line not in ALLOWED]


@pytest.mark.parametrize("study", ["baseline", "delayed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_no_object_has_an_error(source, kind, study, tmp_path):
    make_pair, restore = SOURCES[source]
    pair = make_pair()
    made = derive_prediction(
        *pair,
        restore(pair[0]),
        derivation_facts(model=replace(MODEL, simulated_training=True)),
        replace(KINDS[kind], study=study),
        fat_baseline=FAT,
        reflux=REFLUX,
        quality=QUALITY,
        page=PAGE,
    )

    for dataset in made[:2]:
        assert errors_of(dataset, tmp_path) == []


@pytest.mark.parametrize("reflux", [None, RefluxFacts(index=0.7, grade_24h="indeterminate", interval=None)])
def test_no_report_without_a_grade_has_an_error(reflux, tmp_path):
    pair = source_pair()
    for kind in ("basic text report", "comprehensive report"):
        [report] = derive_prediction(
            *pair,
            restored_for(pair[0]),
            derivation_facts(hours_after_injection=None, warnings=()),
            KINDS[kind],
            fat_baseline=FAT,
            reflux=reflux,
            quality=QUALITY,
        )
        assert errors_of(report, tmp_path) == []


@pytest.mark.needs_dcmtk
@needs("dcm2pdf")
@pytest.mark.parametrize("padding", [b"", b"\n"], ids=["even", "odd"])
def test_dcmtk_takes_the_page_out_as_it_was_put_in(padding, tmp_path):
    pair = source_pair()
    page = PAGE[: len(PAGE) // 2 * 2 - 6] + b"%%EOF\n" + padding
    [made] = derive_prediction(
        *pair,
        restored_for(pair[0]),
        derivation_facts(),
        KINDS["encapsulated PDF"],
        fat_baseline=FAT,
        reflux=REFLUX,
        quality=QUALITY,
        page=page,
    )
    (tmp_path / "page.dcm").write_bytes(to_part10(made))

    ran = subprocess.run(
        [required("dcm2pdf"), tmp_path / "page.dcm", tmp_path / "page.pdf"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "page.pdf").read_bytes() == page


@pytest.mark.parametrize("changes", [{}, {"BodyPartExamined": None, "PatientSex": "?", "Manufacturer": None}])
@pytest.mark.parametrize("picture", [None, np.full((99, 151, 3), 90, dtype=np.uint8)])
def test_no_refusal_notice_has_an_error(picture, changes, tmp_path):
    [notice] = derive_refusal(
        source_series(**changes).template,
        [Reason(code="NO_TRACER", message="None was seen; at least 5 % × fat.", measured=0.01, limit="at least 0.05")],
        derivation_facts(),
        source_series_uids=("1.2", "1.3"),
        source_instances=[("1.2.840.10008.5.1.4.1.1.4", "1.2.3")],
        picture=picture,
    )

    assert errors_of(notice, tmp_path) == []


def test_the_validator_finds_what_is_wrong(tmp_path):
    """Else the tests above could not fail."""
    pair = source_pair()
    dataset = derive_prediction(
        *pair,
        restored_for(pair[0]),
        derivation_facts(),
        OutputSelection(secondary_capture=False, mr_image=True),
        fat_baseline=FAT,
        reflux=None,
        quality=QUALITY,
    )[0]
    del dataset.ScanningSequence

    assert any("ScanningSequence" in error for error in errors_of(dataset, tmp_path))
