from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from service.batch.cases import DicomCase, RefusedCase, chosen_pair, notes_of, passed_over
from service.batch.index import build_index
from service.batch.sources import find_files
from service.cases import case_id_for
from service.dicom.injection import InjectionTimes, TableEntry
from service.errors import UsageError
from tests.builders.batch import SLICES, cases_below, small_baseline, small_delayed, small_pair
from tests.builders.dicom import shuffled, to_bytes
from tests.builders.patients import BASELINE_AT, DELAYED_AT, INJECTED_AT, write


def refused(*sources: Path) -> RefusedCase:
    (case,) = cases_below(*sources)
    assert isinstance(case, RefusedCase)
    return case


def codes(case: RefusedCase) -> list[str]:
    return [reason.code for reason in case.reasons]


def test_every_patient_of_a_mixed_folder_gets_a_case(tmp_path: Path) -> None:
    ids = {small_pair(tmp_path, patient) for patient in ("P1", "P2", "P3")}
    found = cases_below(tmp_path)
    assert {case.case_id for case in found} == ids
    assert all(isinstance(case, DicomCase) for case in found)


def test_a_pair_knows_its_files_its_hashes_and_its_times(tmp_path: Path) -> None:
    case_id = small_pair(tmp_path)
    (case,) = cases_below(tmp_path)
    assert isinstance(case, DicomCase)
    assert (case.case_id, case.injection_time) == (case_id, INJECTED_AT)
    assert (case.baseline.facts.acquired_at, case.delayed.facts.acquired_at) == (BASELINE_AT, DELAYED_AT)
    assert case.baseline.facts.instances == len(case.baseline.files) == len(set(case.baseline.sha256)) == SLICES
    assert case.baseline.note.place == str(tmp_path / "P1/before")


def test_names_and_order_of_files_change_nothing(tmp_path: Path) -> None:
    small_pair(tmp_path / "one")
    for number, dataset in enumerate(shuffled([*small_baseline(), *small_delayed()])):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / f"x{number}").write_bytes(to_bytes(dataset))
    (one,), (other,) = cases_below(tmp_path / "one"), cases_below(tmp_path / "other")
    assert isinstance(one, DicomCase) and isinstance(other, DicomCase)
    assert (one.case_id, one.baseline.sha256, one.delayed.sha256) == (
        other.case_id, other.baseline.sha256, other.delayed.sha256,
    )  # fmt: skip


def test_a_delayed_series_alone_is_refused_as_the_delayed_one(tmp_path: Path) -> None:
    write(small_delayed(), tmp_path / "d")
    case = refused(tmp_path)
    assert codes(case) == ["BASELINE_MISSING"]
    baseline, delayed, others = notes_of(case)
    assert (baseline, others) == (None, ())
    assert delayed is not None and delayed.facts is not None
    assert (delayed.place, delayed.facts.instances) == (str(tmp_path / "d"), SLICES)


def test_a_pair_without_an_injection_time_has_the_id_it_will_have_with_one(tmp_path: Path) -> None:
    write(small_baseline(), tmp_path / "b")
    write(small_delayed(injected_at=None), tmp_path / "d")
    case = refused(tmp_path)
    assert codes(case) == ["INJECTION_TIME_MISSING"]
    told = InjectionTimes(table={"P1": (TableEntry(injection_time=INJECTED_AT),)})
    (found,) = cases_below(tmp_path, times=told)
    assert isinstance(found, DicomCase)
    assert found.case_id == case.case_id
    assert notes_of(found) == notes_of(case)


def test_a_series_with_damaged_pixels_is_named_and_its_partner_too(tmp_path: Path) -> None:
    write(small_baseline(), tmp_path / "b")
    paths = write(small_delayed(), tmp_path / "d")
    paths[20].write_bytes(paths[20].read_bytes()[:-500])
    found = cases_below(tmp_path)
    by_code = {code: case for case in found if isinstance(case, RefusedCase) for code in codes(case)}
    assert set(by_code) == {"MISSING_PIXEL_DATA", "PARTNER_MISSING"}
    (damaged,) = notes_of(by_code["MISSING_PIXEL_DATA"])[2]
    assert damaged.place == str(tmp_path / "d")


def test_two_birth_dates_under_one_patient_id_are_no_pair(tmp_path: Path) -> None:
    write(small_baseline(), tmp_path / "b")
    write(small_delayed(birth_date="19500102"), tmp_path / "d")
    assert codes(refused(tmp_path)) == ["PATIENT_MISMATCH"]


def test_two_baselines_that_are_equally_good_are_not_chosen_between(tmp_path: Path) -> None:
    write(small_baseline(), tmp_path / "b1")
    write(small_baseline(series=5, acquired_at=BASELINE_AT + timedelta(minutes=7)), tmp_path / "b2")
    write(small_delayed(), tmp_path / "d")
    case = refused(tmp_path)
    assert codes(case) == ["AMBIGUOUS_PAIR"]
    assert {note.place for note in notes_of(case)[2]} == {str(tmp_path / name) for name in ("b1", "b2", "d")}


def test_an_instance_with_two_contents_refuses_the_pair(tmp_path: Path) -> None:
    case_id = small_pair(tmp_path)
    write(small_baseline(RescaleSlope="1", RescaleIntercept="7")[:3], tmp_path / "again")
    case = refused(tmp_path)
    assert (case.case_id, codes(case), case.reasons[0].measured) == (case_id, ["CONFLICTING_INSTANCES"], 3.0)
    assert case.baseline is not None and case.delayed is not None


def test_copies_of_one_content_do_not(tmp_path: Path) -> None:
    small_pair(tmp_path / "one")
    small_pair(tmp_path / "two")
    (case,) = cases_below(tmp_path)
    assert isinstance(case, DicomCase)
    assert len(case.baseline.files) == SLICES


def test_a_chosen_series_must_be_there(tmp_path: Path) -> None:
    small_pair(tmp_path)
    index = build_index(find_files([tmp_path]))
    with pytest.raises(UsageError, match=r"series 1\.2\.3: not found below the sources; accepted: one of 2 found"):
        chosen_pair(index, next(iter(index.series)), "1.2.3", None)


def test_a_chosen_pair_is_taken_as_it_was_chosen(tmp_path: Path) -> None:
    small_pair(tmp_path)
    index = build_index(find_files([tmp_path]))
    delayed, baseline = index.series  # the wrong way round: the conversion's checks have to say so
    case = chosen_pair(index, delayed, baseline, None)
    assert isinstance(case, DicomCase)
    assert case.case_id == case_id_for(delayed, baseline)


def test_series_of_no_case_are_counted_by_what_excludes_them(tmp_path: Path) -> None:
    small_pair(tmp_path)
    write(small_baseline("P2", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), tmp_path / "ct")
    write(small_baseline("P3", MRAcquisitionType="2D"), tmp_path / "2d")
    write(small_baseline("P1", series=8, MRAcquisitionType="2D"), tmp_path / "2d-too")
    index = build_index(find_files([tmp_path]))
    assert passed_over(index, cases_below(tmp_path)) == {"NOT_AN_MR_IMAGE": 1, "NOT_3D": 2}


def test_a_series_that_no_pair_needs_is_counted_as_such(tmp_path: Path) -> None:
    small_pair(tmp_path)
    write(small_delayed(series=9, acquired_at=DELAYED_AT + timedelta(hours=22)), tmp_path / "next-day")
    index = build_index(find_files([tmp_path]))
    cases = cases_below(tmp_path)
    assert [type(case) for case in cases] == [DicomCase]
    assert passed_over(index, cases) == {"NOT_NEEDED": 1}
