from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dicom.injection import InjectionTimes, TableEntry
from service.dicom.pairing import STILL_ARRIVING, pair
from service.dicom.policy import HoursWindow, PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.verdicts import Held, Paired, Unpairable, Verdict, Waiting
from tests.builders.received import NOON, series_uid
from tests.builders.t1_series import INJECTION, N_SLICES, after, t1_series

POLICY = PairingPolicy(
    follow_up=None,  # which scan of the next day it is has tests of its own
    time_points=(
        HoursWindow(name="3-5 h", earliest_h=3.0, latest_h=5.0),
        HoursWindow(name="24 h", earliest_h=20.0, latest_h=28.0),
        HoursWindow(name="29 d", earliest_h=648.0, latest_h=744.0),
    ),
)
TOLD = InjectionTimes(table={"P1": (TableEntry(injection_time=INJECTION),)})
NOT_TOLD = InjectionTimes()
LONG_AFTER = NOON + timedelta(days=30)


def scan(series: int, hours: float, **changes: object) -> SeriesSummary:
    """A T1 series so many hours after the injection, in a study of its own."""
    return t1_series(series, after(hours), **{"study_instance_uid": f"1.2.{series}", **changes})  # type: ignore[arg-type]


BASELINE, DELAYED, NEXT_DAY = scan(1, -1.0), scan(2, 1.5), scan(3, 24.0)
PAIRED = Paired(
    baseline_series_uid=series_uid(1),
    delayed_series_uid=series_uid(2),
    injection_time=INJECTION,
    hours_after_injection=1.5,
    wait=timedelta(seconds=5),
)


def decide(
    *series: SeriesSummary,
    times: InjectionTimes = TOLD,
    now: datetime = LONG_AFTER,
    received: Mapping[str, datetime] | None = None,
    policy: PairingPolicy = POLICY,
) -> tuple[Verdict, ...]:
    """Verdicts; every series arrived at noon unless `received` says otherwise."""
    arrivals = {item.series_instance_uid: NOON for item in series} if received is None else received
    return pair(series, now, policy=policy, injection_times=times, last_received=arrivals)


def codes(verdict: Verdict) -> list[str]:
    assert not isinstance(verdict, Paired)
    return [reason.code for reason in verdict.reasons]


def test_baseline_and_delayed_of_two_studies_are_a_pair() -> None:
    assert decide(BASELINE, DELAYED) == (PAIRED,)


def test_a_contrast_start_in_the_delayed_header_times_the_pair() -> None:
    delayed = scan(2, 1.5, contrast_start=INJECTION, contrast_route="INTRATHECAL")
    assert decide(BASELINE, delayed, times=NOT_TOLD) == (PAIRED,)


def test_an_explicit_time_comes_before_header_and_table() -> None:
    delayed = scan(2, 1.5, contrast_start=after(-5.0))
    (verdict,) = decide(BASELINE, delayed, times=replace(TOLD, explicit=after(0.25)))
    assert isinstance(verdict, Paired)
    assert (verdict.injection_time, verdict.hours_after_injection) == (after(0.25), 1.25)


def test_counts_that_are_reached_leave_nothing_to_wait_for() -> None:
    counted = [replace(s, header=replace(s.header, images_in_acquisition=N_SLICES)) for s in (BASELINE, DELAYED)]
    assert decide(*counted) == (replace(PAIRED, wait=timedelta(0)),)


def test_later_time_points_and_other_series_do_not_disturb() -> None:
    others = (
        NEXT_DAY,
        scan(4, 4.0),
        scan(5, 700.0),
        scan(6, 1.4, modality="CT"),
        scan(7, 1.45, echo_time_ms=80.0),
        scan(8, 1.3, slices=[0]),
        scan(9, 1.5, image_type=("DERIVED", "SECONDARY"), synthetic_data=True),
        scan(10, -2000.0),  # a prior of long ago
    )
    assert decide(BASELINE, DELAYED, *others) == (PAIRED,)


def test_a_patients_pair_does_not_change_when_only_later_scans_are_left_over() -> None:
    assert decide(NEXT_DAY, scan(4, 4.0)) == ()


def test_the_last_visit_before_the_injection_gives_the_baseline() -> None:
    assert decide(scan(4, -100.0), BASELINE, DELAYED) == (PAIRED,)


def test_a_baseline_of_another_sequence_is_passed_over() -> None:
    assert decide(BASELINE, scan(4, -0.5, repetition_time_ms=2300.0), DELAYED) == (PAIRED,)


def test_a_scan_in_the_window_is_preferred_to_one_in_its_warning_band() -> None:
    policy = replace(POLICY, warn_tolerance_h=0.5)
    assert decide(BASELINE, DELAYED, scan(4, 2.25), policy=policy) == (PAIRED,)
    (verdict,) = decide(BASELINE, scan(4, 2.25), policy=policy)
    assert isinstance(verdict, Paired)
    assert verdict.hours_after_injection == 2.25


def test_a_scan_in_the_window_is_preferred_although_it_was_acquired_slightly_otherwise() -> None:
    policy = replace(POLICY, warn_tolerance_h=0.5)
    (verdict,) = decide(BASELINE, scan(2, 1.5, flip_angle_deg=10.0), scan(4, 2.25), policy=policy)
    assert isinstance(verdict, Paired)
    assert verdict.delayed_series_uid == series_uid(2)


@pytest.mark.parametrize("repeated", [scan(4, -0.9), scan(4, 1.6)])
def test_a_repeated_scan_is_held_until_a_person_chooses(repeated: SeriesSummary) -> None:
    (verdict,) = decide(BASELINE, DELAYED, repeated)
    assert isinstance(verdict, Held)
    assert set(verdict.series_uids) == {series_uid(1), series_uid(2), series_uid(4)}
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == ("", "")
    assert codes(verdict) == ["AMBIGUOUS_PAIR"]
    assert "csf24 cases release CASE --baseline UID --delayed UID" in verdict.reasons[0].message


@pytest.mark.parametrize("hours", [-1.0, 1.5])
def test_a_series_sent_again_under_new_uids_is_held(hours: float) -> None:
    (verdict,) = decide(BASELINE, DELAYED, scan(4, hours))
    assert codes(verdict) == ["AMBIGUOUS_PAIR"]


def test_a_delayed_scan_outside_the_window_is_held_at_once_with_its_hours() -> None:
    (verdict,) = decide(BASELINE, scan(2, 2.5), now=NOON)
    assert isinstance(verdict, Held)
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == (series_uid(1), series_uid(2))
    (reason,) = verdict.reasons
    assert (reason.code, reason.measured) == ("DELAYED_OUTSIDE_WINDOW", 2.5)


@pytest.mark.parametrize(("hours", "paired"), [(0.99, False), (1.0, True), (1.99, True), (2.0, False), (2.01, False)])
def test_the_window_is_half_open(hours: float, paired: bool) -> None:
    (verdict,) = decide(BASELINE, scan(2, hours))
    assert isinstance(verdict, Paired) == paired


def test_a_pair_of_two_sequences_is_held_with_what_differs() -> None:
    (verdict,) = decide(BASELINE, scan(2, 1.5, flip_angle_deg=13.0))
    assert isinstance(verdict, Held)
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == (series_uid(1), series_uid(2))
    assert codes(verdict) == ["SEQUENCE_DIFFERS"]


# --- the injection is not known


def test_two_series_without_an_injection_time_need_only_that() -> None:
    (verdict,) = decide(BASELINE, DELAYED, times=NOT_TOLD, now=NOON)
    assert isinstance(verdict, Held)
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == (series_uid(1), series_uid(2))
    assert codes(verdict) == ["INJECTION_TIME_MISSING"]
    for way in ("(0018,1042)", "pairing.injection_times", "--injection-time", "csf24 cases release CASE"):
        assert way in verdict.reasons[0].message


def test_three_series_without_an_injection_time_need_a_choice_too() -> None:
    (verdict,) = decide(BASELINE, DELAYED, NEXT_DAY, times=NOT_TOLD)
    assert isinstance(verdict, Held)
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == ("", "")
    assert verdict.series_uids == (series_uid(1), series_uid(2), series_uid(3))
    assert "--baseline UID --delayed UID" in verdict.reasons[0].message


def test_an_intravenous_contrast_start_is_not_the_injection_and_the_case_says_why() -> None:
    delayed = scan(2, 1.5, contrast_start=INJECTION, contrast_route="INTRAVENOUS")
    (verdict,) = decide(BASELINE, delayed, times=NOT_TOLD)
    assert codes(verdict) == ["INJECTION_TIME_MISSING", "CONTRAST_START_NOT_USED"]


def test_a_bolus_in_the_baseline_session_is_not_the_injection() -> None:
    enhanced = scan(4, -0.5, contrast_agent="Gadobutrol", contrast_start=after(-0.6))
    assert decide(BASELINE, enhanced, DELAYED) == (PAIRED,)


def test_what_a_person_said_once_explains_the_patients_later_scans() -> None:
    said = InjectionTimes(by_series={series_uid(2): INJECTION})
    assert decide(BASELINE, DELAYED, NEXT_DAY, times=said) == (PAIRED,)


def test_two_scans_of_one_visit_are_no_pair() -> None:
    verdicts = decide(BASELINE, scan(4, -0.8), times=NOT_TOLD)
    assert [codes(verdict) for verdict in verdicts] == [["PARTNER_MISSING"]]


def test_a_time_of_day_repeated_on_the_next_day_is_no_second_injection() -> None:
    delayed = scan(2, 1.5, contrast_start=INJECTION)
    next_day = scan(3, 25.5, contrast_start=after(24.0))
    assert decide(BASELINE, delayed, next_day, times=NOT_TOLD) == (PAIRED,)


# --- waiting


@pytest.mark.parametrize(
    ("series", "code", "roles"),
    [
        (BASELINE, "DELAYED_MISSING", (series_uid(1), "")),
        (DELAYED, "BASELINE_MISSING", ("", series_uid(2))),
    ],
)
def test_a_single_series_waits_for_its_partner_and_is_then_held(
    series: SeriesSummary, code: str, roles: tuple[str, str]
) -> None:
    until = NOON + POLICY.partner_wait
    (verdict,) = decide(series, now=until - timedelta(seconds=1))
    assert isinstance(verdict, Waiting)
    assert (verdict.until, codes(verdict)) == (until, [code])
    (verdict,) = decide(series, now=until)
    assert isinstance(verdict, Held)
    assert codes(verdict) == [code]
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == roles


def test_a_single_series_of_unknown_role_waits_as_well() -> None:
    (verdict,) = decide(BASELINE, times=NOT_TOLD, now=NOON)
    assert isinstance(verdict, Waiting)
    assert codes(verdict) == ["PARTNER_MISSING"]


def test_an_old_study_sent_today_waits_from_today() -> None:
    years = timedelta(days=1000)
    (verdict,) = decide(BASELINE, now=NOON + years, received={series_uid(1): NOON + years})
    assert isinstance(verdict, Waiting)
    assert verdict.until == NOON + years + POLICY.partner_wait


def test_without_arrivals_waiting_counts_from_the_acquisition() -> None:
    (verdict,) = decide(BASELINE, now=after(10.0).replace(tzinfo=UTC), received={})
    assert isinstance(verdict, Waiting)
    assert verdict.until == (after(-1.0) + POLICY.partner_wait).replace(tzinfo=UTC)


def test_a_gap_is_waited_for_and_then_held_with_what_is_missing() -> None:
    gappy = scan(2, 1.5, slices=[k for k in range(N_SLICES) if k != 70])
    until = NOON + POLICY.incomplete_wait
    (verdict,) = decide(BASELINE, gappy, now=until - timedelta(seconds=1))
    assert isinstance(verdict, Waiting)
    assert (verdict.until, codes(verdict)) == (until, ["SERIES_INCOMPLETE"])
    (verdict,) = decide(BASELINE, gappy, now=until)
    assert isinstance(verdict, Held)
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == (series_uid(1), series_uid(2))
    (reason,) = verdict.reasons
    assert (reason.code, reason.measured, reason.limit) == ("SERIES_INCOMPLETE", N_SLICES - 1, N_SLICES)


def test_an_incomplete_repetition_is_not_passed_over() -> None:
    repeated = scan(4, -0.9, slices=[k for k in range(N_SLICES) if k != 70])
    (verdict,) = decide(BASELINE, DELAYED, repeated)
    assert isinstance(verdict, Held)
    assert codes(verdict) == ["SERIES_INCOMPLETE", "AMBIGUOUS_PAIR"]


def test_a_pair_waits_while_another_t1_series_is_still_arriving() -> None:
    fragment = scan(4, -0.9, slices=range(12))
    arrivals = dict.fromkeys((series_uid(k) for k in (1, 2, 4)), NOON)
    (verdict,) = decide(BASELINE, DELAYED, fragment, now=NOON + timedelta(seconds=1), received=arrivals)
    assert isinstance(verdict, Waiting)
    assert verdict.until == NOON + STILL_ARRIVING
    assert decide(BASELINE, DELAYED, fragment, now=NOON + STILL_ARRIVING, received=arrivals) == (PAIRED,)


def test_a_series_that_stopped_early_is_named_where_its_partner_waits() -> None:
    (verdict,) = decide(DELAYED, scan(4, -0.9, slices=range(30)))
    assert codes(verdict) == ["BASELINE_MISSING", "TOO_FEW_SLICES"]


# --- what can be no part of a pair


def test_a_faulty_series_is_told_and_the_others_go_on_without_it() -> None:
    echoes = scan(4, 1.5, positions_mm=(1.0,))
    verdicts = decide(BASELINE, DELAYED, echoes)
    assert PAIRED in verdicts
    (other,) = [verdict for verdict in verdicts if verdict != PAIRED]
    assert isinstance(other, Unpairable)
    assert (other.series_uids, codes(other)) == ((series_uid(4),), ["DUPLICATE_POSITION"])


def test_a_series_without_a_time_is_told() -> None:
    (verdict,) = decide(t1_series(1, None))
    assert isinstance(verdict, Unpairable)
    assert codes(verdict) == ["ACQUISITION_TIME_MISSING"]


# --- several injections


def _later(series: int, hours: float, days: float) -> SeriesSummary:
    return scan(series, hours + 24 * days)


def test_every_injection_gets_its_own_pair() -> None:
    table = {"P1": (TableEntry(injection_time=INJECTION), TableEntry(injection_time=INJECTION + timedelta(days=200)))}
    verdicts = decide(
        BASELINE, DELAYED, NEXT_DAY, _later(4, -1.0, 200), _later(5, 1.5, 200), times=InjectionTimes(table=table)
    )
    assert [(v.baseline_series_uid, v.delayed_series_uid) for v in verdicts if isinstance(v, Paired)] == [
        (series_uid(1), series_uid(2)),
        (series_uid(4), series_uid(5)),
    ]
    assert len(verdicts) == 2


def test_a_scan_that_still_shows_the_tracer_of_the_last_injection_is_no_baseline() -> None:
    table = {"P1": (TableEntry(injection_time=INJECTION), TableEntry(injection_time=INJECTION + timedelta(days=7)))}
    verdicts = decide(BASELINE, DELAYED, _later(4, -1.0, 7), _later(5, 1.5, 7), times=InjectionTimes(table=table))
    assert PAIRED in verdicts
    (other,) = [verdict for verdict in verdicts if verdict != PAIRED]
    assert codes(other) == ["BASELINE_MISSING"]


def test_a_new_pair_a_year_later_is_not_taken_for_a_late_time_point() -> None:
    verdicts = decide(BASELINE, DELAYED, _later(4, -1.0, 365), _later(5, 1.5, 365))
    assert PAIRED in verdicts
    (other,) = [verdict for verdict in verdicts if verdict != PAIRED]
    assert codes(other) == ["INJECTION_TIME_MISSING"]


# --- identity


def test_a_birth_date_that_differs_is_held() -> None:
    (verdict,) = decide(BASELINE, scan(2, 1.5, patient_birth_date="19510101"))
    assert isinstance(verdict, Held)
    assert (verdict.baseline_series_uid, verdict.delayed_series_uid) == (series_uid(1), series_uid(2))
    assert codes(verdict) == ["PATIENT_MISMATCH"]


def test_a_birth_date_that_differs_is_held_without_an_injection_time_too() -> None:
    (verdict,) = decide(BASELINE, scan(2, 1.5, patient_birth_date="19510101"), times=NOT_TOLD)
    assert codes(verdict) == ["PATIENT_MISMATCH"]


def test_two_hospitals_with_one_patient_id_have_their_own_paired() -> None:
    both = [
        scan(series, hours, issuer_of_patient_id=issuer, contrast_start=INJECTION if hours > 0 else None)
        for series, hours, issuer in ((1, -1.0, "NORTH"), (2, 1.5, "NORTH"), (3, -1.1, "SOUTH"), (4, 1.4, "SOUTH"))
    ]
    found = [
        (v.baseline_series_uid, v.delayed_series_uid) for v in decide(*both, times=NOT_TOLD) if isinstance(v, Paired)
    ]
    assert found == [(series_uid(1), series_uid(2)), (series_uid(3), series_uid(4))]


def test_a_blank_birth_date_contradicts_nothing_unless_others_do() -> None:
    blank = scan(2, 1.5, patient_birth_date="")
    assert decide(BASELINE, blank) == (PAIRED,)
    verdicts = decide(BASELINE, blank, scan(5, -3.0, patient_birth_date="19600101"))
    assert not any(isinstance(verdict, Paired) for verdict in verdicts)
    assert ["PATIENT_MISMATCH"] in [codes(verdict) for verdict in verdicts]


def test_series_without_a_patient_id_pair_within_their_study_only() -> None:
    nobody = {"patient_id": ""}
    times = InjectionTimes(explicit=INJECTION)
    apart = decide(scan(1, -1.0, **nobody), scan(2, 1.5, **nobody), times=times)
    assert not any(isinstance(verdict, Paired) for verdict in apart)
    together = decide(t1_series(1, after(-1.0), **nobody), t1_series(2, after(1.5), **nobody), times=times)
    assert together == (PAIRED,)


# --- what always holds


def _short(series: int, hours: float, **changes: object) -> SeriesSummary:
    return scan(series, hours, slices=range(75), spacing=2.0, **changes)


_HOURS = st.sampled_from([-800.0, -30.0, -2.0, -1.5, -1.0, 0.5, 1.0, 1.25, 1.5, 2.0, 4.0, 24.0])
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "patient_birth_date": st.sampled_from(["", "19500101", "19510101"]),
        "issuer_of_patient_id": st.sampled_from(["", "NORTH", "SOUTH"]),
        "patient_id": st.sampled_from(["P1", "P2", ""]),
        "study_instance_uid": st.sampled_from(["1.2.1", "1.2.2"]),
        "flip_angle_deg": st.sampled_from([9.0, 10.0, 14.0]),
        "contrast_start": st.sampled_from([None, INJECTION, after(-24.0)]),
        "images_in_acquisition": st.sampled_from([75, 76, None]),
        "slice_thickness_mm": st.sampled_from([2.0, 5.0]),
    },
)
_SCANS = st.lists(st.tuples(_HOURS, st.just({}) | _CHANGES), max_size=4)
_PAIR = st.tuples(st.just({}) | _CHANGES, st.just({}) | _CHANGES).map(lambda two: [(-1.0, two[0]), (1.5, two[1])])
_SERIES = st.builds(lambda pair, others: pair + others, _PAIR | st.just([]), _SCANS).map(
    lambda items: [_short(number, hours, **changes) for number, (hours, changes) in enumerate(items, start=1)]
)
_TIMES = st.sampled_from([TOLD, NOT_TOLD, InjectionTimes(explicit=INJECTION)])
_NOW = st.sampled_from([NOON, LONG_AFTER])


def _paired(verdicts: Sequence[Verdict]) -> list[Paired]:
    return [verdict for verdict in verdicts if isinstance(verdict, Paired)]


@given(_SERIES, _TIMES, _NOW, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_series_changes_nothing(series, times, now, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(series)
    random.shuffle(shuffled)
    assert decide(*shuffled, times=times, now=now) == decide(*series, times=times, now=now)


@given(_SERIES, _TIMES, _NOW)
@settings(max_examples=100, deadline=None)
def test_a_pair_is_always_one_person_in_the_right_order_within_the_window(series, times, now) -> None:  # type: ignore[no-untyped-def]
    by_uid = {item.series_instance_uid: item for item in series}
    for found in _paired(decide(*series, times=times, now=now)):
        one, other = by_uid[found.baseline_series_uid], by_uid[found.delayed_series_uid]
        for name in ("patient_id", "issuer_of_patient_id", "patient_birth_date"):
            values = {getattr(one.header, name), getattr(other.header, name)} - {""}
            assert len(values) < 2
        assert one.header.patient_id or one.header.study_instance_uid == other.header.study_instance_uid
        assert one.acquired_at < found.injection_time < other.acquired_at
        assert 1.0 <= found.hours_after_injection < 2.0


@given(_SERIES, _TIMES, _NOW)
@settings(max_examples=100, deadline=None)
def test_no_series_is_in_two_pairs_or_paired_and_held(series, times, now) -> None:  # type: ignore[no-untyped-def]
    verdicts = decide(*series, times=times, now=now)
    used = [uid for found in _paired(verdicts) for uid in (found.baseline_series_uid, found.delayed_series_uid)]
    assert len(used) == len(set(used))
    others = [uid for verdict in verdicts if not isinstance(verdict, Paired) for uid in verdict.series_uids]
    assert not set(used) & set(others)


@given(st.sampled_from(["baseline", "delayed"]), st.integers(0, 60), _NOW, _TIMES)
@settings(deadline=None)
def test_two_candidates_that_tie_are_never_paired(
    role: str, minutes: int, now: datetime, times: InjectionTimes
) -> None:
    hours = (-1.0, 1.0) if role == "baseline" else (1.5, 1.25)
    series = [_short(1, -1.0), _short(2, 1.5)]
    series.append(_short(3, -1.0 - minutes / 60 if role == "baseline" else hours[1] + minutes / 200))
    assert not _paired(decide(*series, times=times, now=now))
