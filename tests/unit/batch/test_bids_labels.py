from __future__ import annotations

from pathlib import Path

import pytest

from service.batch.bids.labels import BidsLabels, label_cases, labels_in
from service.batch.cases import BatchCase, NiftiCase, RefusedCase, SeriesNote
from service.batch.sources import FileSource
from service.errors import Reason, UsageError

MISSING = Reason(code="BASELINE_MISSING", message="None was received.")


def case(case_id: str, baseline: str = "before.nii", delayed: str = "after.nii") -> NiftiCase:
    return NiftiCase(
        case_id=case_id,
        baseline=FileSource(path=Path(baseline)),
        delayed=FileSource(path=Path(delayed)),
        hours_after_injection=1.5,
    )


def stem_of(one: BatchCase) -> str:
    return label_cases([one], {})[one.case_id].stem


@pytest.mark.parametrize(
    ("case_id", "stem"),
    [
        ("c1a88e05ff91b", "sub-c1a88e05ff91b"),
        ("patient_07.b", "sub-patient07b"),
        ("sub-01", "sub-01"),
        ("sub-01_ses-2w", "sub-01_ses-2w"),
        ("sub-01_run-2", "sub-01run2"),
        ("7", "sub-7"),
    ],
)
def test_a_case_s_name_becomes_a_label_of_letters_and_digits(case_id: str, stem: str) -> None:
    assert stem_of(case(case_id)) == stem


@pytest.mark.parametrize(
    ("baseline", "delayed", "stem"),
    [
        ("raw/sub-P1/ses-pre/anat/x.nii", "raw/sub-P1/ses-1h/anat/y.nii", "sub-P1_ses-pre"),
        ("raw/sub-P1/anat/x.nii", "raw/sub-P1/anat/y.nii", "sub-P1"),
        ("sub-A/old/sub-B/x.nii", "sub-A/old/sub-B/y.nii", "sub-B"),
        ("raw/sub-P1/x.nii", "elsewhere/y.nii", "sub-P1x"),  # the name: only half of it lies in a dataset
    ],
)
def test_a_pair_of_a_bids_dataset_keeps_the_labels_of_its_baseline(baseline: str, delayed: str, stem: str) -> None:
    assert stem_of(case("P1-x", baseline, delayed)) == stem


def test_a_dicom_pair_in_the_source_folders_of_a_dataset_keeps_its_labels_too() -> None:
    places = [SeriesNote(place=f"sourcedata/sub-7/ses-{n}/dicom.zip!series") for n in (1, 2)]
    held = RefusedCase(case_id="c0", reasons=(MISSING,), baseline=places[0], delayed=places[1])
    assert stem_of(held) == "sub-7_ses-1"


def test_a_name_that_is_one_of_bids_goes_before_the_folders() -> None:
    assert stem_of(case("sub-P1_ses-late", "raw/sub-P1/ses-pre/x.nii", "raw/sub-P1/ses-1h/y.nii")) == "sub-P1_ses-late"


def test_series_that_are_no_pair_do_not_take_the_place_of_their_subject_s_pair() -> None:
    pair = case("c1", "raw/sub-P1/x.nii", "raw/sub-P1/y.nii")
    spare = RefusedCase(case_id="c2", reasons=(MISSING,), delayed=SeriesNote(place="raw/sub-P1/z"))
    found = label_cases([pair, spare], {})
    assert [found[name].stem for name in ("c1", "c2")] == ["sub-P1", "sub-c2"]


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([case("p-1"), case("p_1")], "p-1, p_1: would all be sub-p1"),
        ([case("p-1"), case("P1")], "P1, p-1: would all be sub-P1"),
        (
            [case("a", "raw/sub-1/ses-0/x.nii", "raw/sub-1/ses-1/y.nii"),
             case("b", "raw/sub-1/ses-0/x.nii", "raw/sub-1/ses-2/y.nii")],
            "a, b: would all be sub-1_ses-0",
        ),
        ([case("sub-1"), case("sub-1_ses-2")], "sub-1: would have a case with a session and one without"),
        ([case("sub-a_ses-1"), case("sub-A_ses-2")], "sub-A and sub-a: differ by capital letters only"),
        ([case("a", "raw/sub-1/x.nii", "raw/sub-2/y.nii")], "its baseline lies in a folder of sub-1, its delayed scan"),
    ],
)  # fmt: skip
def test_cases_that_a_dataset_could_not_tell_apart_are_named_before_anything_is_converted(
    cases: list[NiftiCase], said: str
) -> None:
    with pytest.raises(UsageError) as told:
        label_cases(cases, {})
    assert said in str(told.value)
    assert "accepted: for each case another name" in str(told.value)


def test_a_label_that_an_earlier_run_gave_to_another_case_is_taken() -> None:
    with pytest.raises(UsageError, match=r"p-1, p_1: would all be sub-p1"):
        label_cases([case("p_1")], {"p-1": BidsLabels(subject="p1")})
    assert label_cases([case("p_1")], {"p_1": BidsLabels(subject="p1")}) == {"p_1": BidsLabels(subject="p1")}


def test_a_case_does_not_move_within_its_dataset_in_silence() -> None:
    with pytest.raises(UsageError, match=r"p1: is sub-p1 in the dataset from an earlier run, and would now be sub-9"):
        label_cases([case("p1", "raw/sub-9/x.nii", "raw/sub-9/y.nii")], {"p1": BidsLabels(subject="p1")})


def test_the_dataset_of_a_path_is_the_folder_above_its_subject() -> None:
    assert labels_in("/data/raw/sub-1/ses-2/anat/x.nii") == (
        Path("/data/raw"), BidsLabels(subject="1", session="2"),
    )  # fmt: skip
    assert labels_in("/data/sub_1/x.nii") is None
    assert labels_in("sub-1_T1w.nii") is None
