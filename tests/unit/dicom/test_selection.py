from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.headers import parse_header
from service.dicom.policy import HoursWindow, PairingPolicy
from service.dicom.records import InstanceHeader
from service.dicom.selection import Faulty, NotOfInterest, PairCheck, Usable, assess_series, check_pair
from service.dicom.summaries import summarise
from tests.builders.real_head import FOLDER, needs_head
from tests.builders.t1_series import INJECTION, N_SLICES, after, t1_headers, t1_series

POLICY = PairingPolicy()

PROTOCOLS = {
    "founding paper": {"repetition_time_ms": 5.1, "echo_time_ms": 2.3, "flip_angle_deg": 8.0},
    "Philips MPRAGE": {
        "repetition_time_ms": 6.5,
        "echo_time_ms": 2.93,
        "flip_angle_deg": 9.0,
        "sequence_variant": ("MP",),
    },
    "Siemens MPRAGE": {
        "repetition_time_ms": 2300.0,
        "echo_time_ms": 2.98,
        "inversion_time_ms": 900.0,
        "flip_angle_deg": 9.0,
        "scanning_sequence": ("GR", "IR"),
        "sequence_variant": ("SK", "SP", "MP"),
        "image_type": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
    },
    "Siemens MPRAGE, short": {
        "repetition_time_ms": 1800.0,
        "echo_time_ms": 2.26,
        "inversion_time_ms": 900.0,
        "flip_angle_deg": 8.0,
    },
    "GE BRAVO": {
        "repetition_time_ms": 8.2,
        "echo_time_ms": 3.2,
        "inversion_time_ms": 450.0,
        "flip_angle_deg": 12.0,
        "image_type": ("ORIGINAL", "PRIMARY", "OTHER"),
        "scanning_sequence": ("GR",),
        "sequence_variant": ("SS", "SP", "SK"),
    },
    "GE, research mode": {"scanning_sequence": ("RM",), "sequence_variant": ("NONE",), "inversion_time_ms": 0.0},
    "MPRAGE in the name": {"series_description": "Sag3D MPRAGE", "scanning_sequence": (), "echo_time_ms": None},
}

OTHERS = {
    "computed tomography": ({"modality": "CT"}, "NOT_AN_MR_IMAGE"),
    "a spectrum": ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4.2"}, "NOT_AN_MR_IMAGE"),
    "a secondary capture": ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, "NOT_AN_MR_IMAGE"),
    "a synthetic image": ({"synthetic_data": True}, "SYNTHETIC_DATA"),
    "a prediction of ours whose synthetic flag got lost": (
        {"image_type": ("DERIVED", "SECONDARY", "OTHER")},
        "NOT_ORIGINAL",
    ),
    "a reformat": ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, "NOT_ORIGINAL"),
    "a reformat called original": ({"image_type": ("ORIGINAL", "PRIMARY", "MPR")}, "NOT_A_MAGNITUDE_STACK"),
    "a projection": ({"image_type": ("ORIGINAL", "PRIMARY", "PROJECTION IMAGE")}, "NOT_A_MAGNITUDE_STACK"),
    "a phase image": ({"image_type": ("ORIGINAL", "PRIMARY", "P", "ND")}, "NOT_A_MAGNITUDE_STACK"),
    "a localiser": ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "NOT_A_MAGNITUDE_STACK"),
    "a neck": ({"body_part": "CSPINE"}, "NOT_THE_HEAD"),
    "a 3D T2": ({"scanning_sequence": ("SE",), "echo_time_ms": 300.0}, "NOT_GRADIENT_ECHO"),
    "a 3D FLAIR": ({"scanning_sequence": ("SE", "IR"), "inversion_time_ms": 1650.0}, "NOT_GRADIENT_ECHO"),
    "functional imaging": ({"scanning_sequence": ("EP", "GR")}, "NOT_GRADIENT_ECHO"),
    "a FLAIR that does not state its sequence": (
        {"scanning_sequence": (), "repetition_time_ms": 4800.0, "echo_time_ms": 320.0, "inversion_time_ms": 1650.0},
        "ECHO_TIME",
    ),
    "a 2D gradient echo": ({"mr_acquisition_type": "2D"}, "NOT_3D"),
    "susceptibility imaging": ({"repetition_time_ms": 28.0, "echo_time_ms": 20.0, "flip_angle_deg": 15.0}, "ECHO_TIME"),
    "angiography": ({"repetition_time_ms": 22.0, "echo_time_ms": 3.5, "flip_angle_deg": 18.0}, "REPETITION_TIME"),
    "an automatic 3D scout": (
        {"repetition_time_ms": 3.15, "echo_time_ms": 1.37, "slice_thickness_mm": 1.6},
        "REPETITION_TIME",
    ),
    "an MP2RAGE": (
        {"repetition_time_ms": 5000.0, "inversion_time_ms": 700.0, "flip_angle_deg": 4.0},
        "REPETITION_TIME",
    ),
    "a T1 with a large flip angle": ({"flip_angle_deg": 20.0}, "FLIP_ANGLE"),
    "thick slices": ({"slice_thickness_mm": 5.0}, "SLICE_THICKNESS"),
    "a T2 by its name alone": (
        {"series_description": "3D T2 SPACE", "scanning_sequence": (), "echo_time_ms": None},
        "OTHER_CONTRAST",
    ),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_usual_t1_head_protocols_are_usable(protocol: str) -> None:
    assert assess_series(t1_series(**PROTOCOLS[protocol])) == Usable()


@pytest.mark.parametrize("other", OTHERS)
def test_other_series_are_of_no_interest(other: str) -> None:
    changes, code = OTHERS[other]
    assessed = assess_series(t1_series(**changes))
    assert isinstance(assessed, NotOfInterest)
    assert assessed.reason.code == code


SILENT = {
    "modality": "",
    "image_type": (),
    "body_part": "",
    "scanning_sequence": (),
    "sequence_variant": (),
    "mr_acquisition_type": "",
    "repetition_time_ms": None,
    "echo_time_ms": None,
    "inversion_time_ms": None,
    "flip_angle_deg": None,
    "slice_thickness_mm": None,
}


@given(st.sets(st.sampled_from(sorted(SILENT))))
def test_missing_tags_reject_nothing(missing: set[str]) -> None:
    assert assess_series(t1_series(slices=range(0, 170), **{name: SILENT[name] for name in missing})) == Usable()


def test_a_name_that_contradicts_the_tags_does_not_count() -> None:
    assert assess_series(t1_series(series_description="T2 FLAIR (copied protocol)")) == Usable()


def test_slices_with_gaps_between_them_are_of_no_interest() -> None:
    assessed = assess_series(t1_series(slices=range(60), spacing=3.0, slice_thickness_mm=None))
    assert isinstance(assessed, NotOfInterest)
    assert assessed.reason.code == "SLICE_SPACING"


@pytest.mark.parametrize("n_slices", [1, 3, 59])
def test_strays_and_localisers_are_of_no_interest(n_slices: int) -> None:
    assessed = assess_series(t1_series(slices=range(n_slices), images_in_acquisition=N_SLICES))
    assert isinstance(assessed, NotOfInterest)
    assert (assessed.reason.code, assessed.reason.measured) == ("TOO_FEW_SLICES", float(n_slices))


def test_a_missing_slice_is_no_fault_since_it_may_still_come() -> None:
    assert assess_series(t1_series(slices=[k for k in range(N_SLICES) if k != 60])) == Usable()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"has_pixel_data": False}, "MISSING_PIXEL_DATA"),
        ({"image_orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, "MIXED_ORIENTATION"),
        ({"rows": 512}, "MIXED_MATRIX"),
        ({"positions_mm": (-80.0,)}, "DUPLICATE_POSITION"),
        ({"positions_mm": (), "image_orientation": None}, "MISSING_GEOMETRY"),
        ({"patient_id": "P9"}, "MIXED_PATIENT"),
    ],
)
def test_a_t1_series_that_contradicts_itself_is_faulty(change: dict[str, object], code: str) -> None:
    headers = t1_headers()
    headers[-1] = replace(headers[-1], **change)
    assessed = assess_series(summarise(headers))
    assert isinstance(assessed, Faulty)
    assert [reason.code for reason in assessed.reasons] == [code]


def test_a_t1_series_without_any_geometry_is_faulty() -> None:
    assessed = assess_series(t1_series(positions_mm=(), image_orientation=None))
    assert isinstance(assessed, Faulty)


def test_an_enhanced_multi_frame_series_is_usable() -> None:
    template = t1_headers(slices=[0])[0]
    frames = tuple(float(k) for k in range(N_SLICES))
    enhanced = replace(template, sop_class_uid="1.2.840.10008.5.1.4.1.1.4.1", n_frames=N_SLICES, positions_mm=frames)
    assert assess_series(summarise([enhanced])) == Usable()


class TestTheRealHead:
    pytestmark = needs_head

    def test_its_t1_series_is_usable_and_its_survey_is_not(self) -> None:
        series: dict[str, list[InstanceHeader]] = {}
        for path in FOLDER.glob("*.dcm"):
            header = parse_header(path.read_bytes())
            series.setdefault(header.series_instance_uid, []).append(header)
        assessed = {len(headers): assess_series(summarise(headers)) for headers in series.values()}
        assert assessed[170] == Usable()
        assert isinstance(assessed[1], NotOfInterest)


def _check(
    baseline: dict[str, object] | None = None,
    delayed: dict[str, object] | None = None,
    *,
    hours: float = 1.5,
    before: float = -1.0,
    injection: datetime | None = INJECTION,
    policy: PairingPolicy = POLICY,
) -> PairCheck:
    one = t1_series(1, **{"acquired_at": after(before), **(baseline or {})})  # type: ignore[arg-type]
    other = t1_series(2, **{"acquired_at": after(hours), **(delayed or {})})  # type: ignore[arg-type]
    return check_pair(one, other, injection_time=injection, policy=policy)


def _codes(check: PairCheck) -> tuple[list[str], list[str]]:
    return [reason.code for reason in check.rejections], [reason.code for reason in check.warnings]


def test_a_good_pair_passes_without_a_warning() -> None:
    assert _check() == PairCheck(rejections=(), warnings=(), hours_after_injection=1.5)


def test_a_pair_may_lie_in_two_studies_and_have_two_matrices() -> None:
    check = _check(delayed={"study_instance_uid": "1.2.3", "rows": 240, "columns": 224})
    assert _codes(check) == ([], [])


@pytest.mark.parametrize(
    ("hours", "tolerance", "rejections", "warnings"),
    [
        (0.99, 0.0, ["DELAYED_OUTSIDE_WINDOW"], []),
        (1.0, 0.0, [], []),
        (1.99, 0.0, [], []),
        (2.0, 0.0, ["DELAYED_OUTSIDE_WINDOW"], []),
        (2.01, 0.0, ["DELAYED_OUTSIDE_WINDOW"], []),
        (0.74, 0.25, ["DELAYED_OUTSIDE_WINDOW"], []),
        (0.75, 0.25, [], ["DELAYED_OUTSIDE_WINDOW"]),
        (0.99, 0.25, [], ["DELAYED_OUTSIDE_WINDOW"]),
        (1.0, 0.25, [], []),
        (2.0, 0.25, [], ["DELAYED_OUTSIDE_WINDOW"]),
        (2.24, 0.25, [], ["DELAYED_OUTSIDE_WINDOW"]),
        (2.25, 0.25, ["DELAYED_OUTSIDE_WINDOW"], []),
    ],
)
def test_the_window_is_half_open_and_its_warning_band_too(
    hours: float, tolerance: float, rejections: list[str], warnings: list[str]
) -> None:
    check = _check(hours=hours, policy=PairingPolicy(warn_tolerance_h=tolerance))
    assert _codes(check) == (rejections, warnings)
    assert check.hours_after_injection == pytest.approx(hours)


def test_a_scan_outside_the_window_is_called_by_the_protocols_name() -> None:
    policy = PairingPolicy(time_points=(HoursWindow(name="3-5 h", earliest_h=3.0, latest_h=5.0),))
    (reason,) = _check(hours=4.0, policy=policy).rejections
    assert "3-5 h" in reason.message
    assert (reason.measured, reason.limit) == (4.0, "1 to less than 2 h after the injection")


@pytest.mark.parametrize(
    ("before", "codes"),
    [
        (-0.01, []),
        (0.0, ["BASELINE_NOT_BEFORE_INJECTION"]),
        (0.2, ["BASELINE_NOT_BEFORE_INJECTION"]),
        (-720.0, []),
        (-720.1, ["BASELINE_OUTSIDE_WINDOW"]),
    ],
)
def test_the_baseline_lies_before_the_injection_and_not_long_before(before: float, codes: list[str]) -> None:
    assert _codes(_check(before=before))[0] == codes


def test_an_injection_that_nobody_knows_is_rejected() -> None:
    check = _check(injection=None)
    assert _codes(check)[0] == ["INJECTION_TIME_MISSING"]
    assert "--injection-time" in check.rejections[0].message
    assert check.hours_after_injection is None


def test_an_injection_after_the_delayed_series_lies_in_the_future() -> None:
    assert _codes(_check(hours=-0.5, before=-3.0))[0] == ["INJECTION_IN_FUTURE"]


def test_exchanged_series_are_rejected() -> None:
    assert _codes(_check(hours=-1.0, before=1.5))[0] == [
        "BASELINE_NOT_BEFORE_DELAYED",
        "BASELINE_NOT_BEFORE_INJECTION",
        "INJECTION_IN_FUTURE",
    ]


def test_a_series_is_no_pair_with_itself_even_under_another_uid() -> None:
    same = t1_series(1, after(1.5))
    for other in (same, t1_series(2, after(1.5))):
        check = check_pair(same, other, injection_time=INJECTION, policy=POLICY)
        assert "SAME_SERIES" in _codes(check)[0]


def test_a_series_without_a_time_cannot_be_placed() -> None:
    assert "ACQUISITION_TIME_MISSING" in _codes(_check({"acquired_at": None}))[0]
    assert "ACQUISITION_TIME_MISSING" in _codes(_check(delayed={"acquired_at": None}))[0]


@pytest.mark.parametrize(
    ("delayed", "rejections", "warnings"),
    [
        ({"patient_birth_date": "19500102"}, ["PATIENT_MISMATCH"], []),
        ({"patient_id": "P2"}, ["PATIENT_MISMATCH"], []),
        ({"patient_id": ""}, [], ["PATIENT_IDENTITY_INCOMPLETE"]),  # of the same study
        ({"patient_id": "", "study_instance_uid": "1.2.3"}, ["PATIENT_MISMATCH"], []),
        ({"patient_birth_date": ""}, [], ["PATIENT_IDENTITY_INCOMPLETE"]),
        ({"issuer_of_patient_id": "HOSPITAL"}, [], ["PATIENT_IDENTITY_INCOMPLETE"]),
    ],
)
def test_another_patient_is_rejected_and_a_blank_is_told(
    delayed: dict[str, object], rejections: list[str], warnings: list[str]
) -> None:
    assert _codes(_check(delayed=delayed)) == (rejections, warnings)


def test_two_issuers_of_one_patient_id_are_two_patients() -> None:
    check = _check({"issuer_of_patient_id": "NORTH"}, {"issuer_of_patient_id": "SOUTH"})
    assert _codes(check)[0] == ["PATIENT_MISMATCH"]


@pytest.mark.parametrize(
    ("delayed", "rejections", "warnings"),
    [
        ({"repetition_time_ms": 6.5 * 1.01}, 0, 0),  # 'shortest' moves by a little
        ({"repetition_time_ms": 6.5 * 1.09}, 0, 1),
        ({"repetition_time_ms": 6.5 * 1.11}, 1, 0),
        ({"repetition_time_ms": 2300.0}, 1, 0),
        ({"echo_time_ms": 2.93 * 1.14}, 0, 1),
        ({"echo_time_ms": 2.93 * 1.16}, 1, 0),
        ({"flip_angle_deg": 11.0}, 0, 1),
        ({"flip_angle_deg": 11.1}, 1, 0),
        ({"spacing": 1.2}, 0, 1),
        ({"spacing": 1.3}, 1, 0),
        ({"pixel_spacing_mm": (0.5, 0.5), "rows": 512, "columns": 512}, 0, 2),  # interpolated to 512
        ({"repetition_time_ms": None, "echo_time_ms": None, "flip_angle_deg": None}, 0, 0),
        ({"inversion_time_ms": 900.0}, 0, 0),
    ],
)
def test_another_sequence_is_rejected_and_a_slight_difference_is_told(
    delayed: dict[str, object], rejections: int, warnings: int
) -> None:
    found = _codes(_check(delayed=delayed))
    assert found == (["SEQUENCE_DIFFERS"] * rejections, ["SEQUENCE_DIFFERS"] * warnings)


def test_another_scanner_is_told() -> None:
    assert _codes(_check({"device_serial_number": "1"}, {"device_serial_number": "2"})) == ([], ["SCANNER_DIFFERS"])


def test_slices_oriented_otherwise_are_told() -> None:
    axial = {"image_orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}
    assert _codes(_check(delayed=axial)) == ([], ["ORIENTATION_DIFFERS"])


@pytest.mark.parametrize(
    "changes", [{"rows": 130}, {"columns": 130}, {"slices": range(139)}, {"spacing": 0.8, "slices": range(170)}]
)
def test_a_series_that_cannot_hold_a_head_is_rejected(changes: dict[str, object]) -> None:
    check = _check(changes, changes)
    assert _codes(check)[0] == ["FIELD_OF_VIEW_SHORT"] * 2
    assert check.rejections[0].limit == 140.0


@pytest.mark.parametrize(
    ("baseline", "rejections", "warnings"),
    [
        ({"contrast_route": "INTRAVENOUS", "contrast_agent": "Gadobutrol"}, ["BASELINE_ENHANCED"], []),
        ({"contrast_route": "IV"}, ["BASELINE_ENHANCED"], []),
        ({"contrast_start": after(-2.0)}, ["BASELINE_ENHANCED"], []),
        ({"contrast_agent": "Gadobutrol"}, [], ["BASELINE_ENHANCED"]),
    ],
)
def test_a_baseline_that_states_contrast_is_rejected_or_told(
    baseline: dict[str, object], rejections: list[str], warnings: list[str]
) -> None:
    assert _codes(_check(baseline)) == (rejections, warnings)


def test_an_intravenous_route_in_the_delayed_series_is_told() -> None:
    assert _codes(_check(delayed={"contrast_route": "Intravenous route"})) == ([], ["CONTRAST_ROUTE_INTRAVENOUS"])


def test_local_times_and_an_injection_time_with_an_offset_compare_by_the_clock_and_say_so() -> None:
    check = _check(injection=INJECTION.replace(tzinfo=timezone(timedelta(hours=1))))
    assert check.hours_after_injection == 1.5
    assert _codes(check) == ([], ["TIME_ZONE_ASSUMED"])


def test_times_that_all_have_offsets_compare_exactly() -> None:
    zone = timezone(timedelta(hours=1))
    check = _check(
        {"acquired_at": after(-1).replace(tzinfo=zone)},
        {"acquired_at": after(1.5).replace(tzinfo=zone)},
        injection=(INJECTION - timedelta(hours=1)).replace(tzinfo=UTC),
    )
    assert check == PairCheck(rejections=(), warnings=(), hours_after_injection=1.5)


def test_a_contrast_start_without_a_date_is_doubted_when_the_baseline_is_days_old() -> None:
    assert _codes(_check(before=-30.0, delayed={"contrast_start": INJECTION}))[1] == ["INJECTION_DATE_ASSUMED"]
    assert _codes(_check(before=-2.0, delayed={"contrast_start": INJECTION}))[1] == []


@given(st.sampled_from(["repetition_time_ms", "echo_time_ms", "flip_angle_deg"]), st.floats(1.0, 60.0))
def test_a_difference_counts_the_same_both_ways(name: str, value: float) -> None:
    one = t1_series(1, after(-1.0), slices=range(2), **{name: value})
    other = t1_series(2, after(1.5), slices=range(2))
    there = check_pair(one, other, injection_time=INJECTION, policy=POLICY)
    one, other = (replace(item, acquired_at=moment) for item, moment in ((one, after(1.5)), (other, after(-1.0))))
    back = check_pair(other, one, injection_time=INJECTION, policy=POLICY)
    assert _codes(there) == _codes(back)
