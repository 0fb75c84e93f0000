"""Scans that lie in no window of the injection that is known: shown or held, never dropped in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from service.dicom.injection import InjectionTimes, TableEntry
from service.dicom.pairing import pair
from service.dicom.policy import HoursWindow, PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.verdicts import Held, Paired, Verdict, Waiting
from tests.builders.received import NOON, series_uid
from tests.builders.t1_series import INJECTION, after, t1_series

POLICY = PairingPolicy(
    time_points=(
        HoursWindow(name="24 h", earliest_h=20.0, latest_h=28.0),
        HoursWindow(name="48 h", earliest_h=44.0, latest_h=52.0),
        HoursWindow(name="29 d", earliest_h=648.0, latest_h=744.0),
    )
)
LONG_AFTER = NOON + timedelta(days=800)


def scan(series: int, hours: float, **changes: object) -> SeriesSummary:
    return t1_series(series, after(hours), **{"study_instance_uid": f"1.2.{series}", **changes})


BASELINE, DELAYED = scan(1, -1.0), scan(2, 1.5)


def decide(
    *series: SeriesSummary, told: datetime | None = INJECTION, now: datetime = LONG_AFTER
) -> tuple[Verdict, ...]:
    table = {"P1": (TableEntry(injection_time=told),)} if told else {}
    arrivals = {item.series_instance_uid: NOON for item in series}
    return pair(series, now, policy=POLICY, injection_times=InjectionTimes(table=table), last_received=arrivals)


def codes(verdict: Verdict) -> set[str]:
    assert not isinstance(verdict, Paired)
    return {reason.code for reason in verdict.reasons}


def test_a_time_that_is_a_day_early_holds_the_pair():
    (held,) = decide(BASELINE, DELAYED, told=INJECTION - timedelta(days=1))
    assert isinstance(held, Held)
    assert codes(held) == {"BASELINE_NOT_BEFORE_INJECTION", "DELAYED_OUTSIDE_WINDOW"}
    assert (held.baseline_series_uid, held.delayed_series_uid) == (series_uid(1), series_uid(2))


def test_a_time_twelve_hours_late_holds_the_pair():
    (held,) = decide(BASELINE, DELAYED, told=INJECTION + timedelta(hours=12))
    assert isinstance(held, Held)
    assert codes(held) == {"INJECTION_IN_FUTURE"}


def test_the_same_in_the_header_holds_the_pair():
    late = INJECTION + timedelta(hours=12)
    (held,) = decide(BASELINE, scan(2, 1.5, contrast_route="INTRATHECAL", contrast_start=late), told=None)
    assert isinstance(held, Held)
    assert "INJECTION_IN_FUTURE" in codes(held)


def test_a_lone_scan_of_no_time_point_waits_with_its_reason_and_is_then_held():
    (waiting,) = decide(scan(2, 2.75), now=NOON)
    assert isinstance(waiting, Waiting)
    (held,) = decide(scan(2, 2.75))
    assert isinstance(held, Held)
    assert codes(waiting) == codes(held) == {"DELAYED_OUTSIDE_WINDOW"}


def test_later_time_points_whose_pair_lies_elsewhere_are_left_alone():
    assert decide(scan(3, 24.0)) == ()
    assert decide(scan(3, 24.0), scan(4, 48.0), scan(5, 700.0)) == ()


def test_two_baselines_of_a_morning_wait_for_the_delayed_scan():
    (waiting,) = decide(scan(1, -1.0), scan(2, -0.5), now=NOON)
    assert isinstance(waiting, Waiting)
    assert codes(waiting) == {"DELAYED_MISSING"}


def test_a_second_visit_at_the_same_time_of_day_has_its_own_injection():
    def visit(first: int, days: int) -> list[SeriesSummary]:
        hours, start = 24.0 * days, INJECTION + timedelta(days=days)
        told = {"contrast_route": "INTRATHECAL", "contrast_start": start}
        return [scan(first, hours - 1.0), scan(first + 1, hours + 1.5, **told)]

    verdicts = decide(*visit(1, 0), *visit(3, 366), told=None)
    assert [type(verdict) for verdict in verdicts] == [Paired, Paired]


@pytest.mark.parametrize(
    ("one", "other", "paired"),
    [
        ({"patient_name": "SMITH^ANNA"}, {"patient_name": "Smith^Anna Maria"}, True),
        ({"patient_name": "SMITH^ANNA"}, {"patient_name": "MILLER^ANNA"}, True),
        ({"patient_name": "SMITH^ANNA"}, {"patient_name": ""}, True),
        ({"patient_name": "Müller^Jörg"}, {"patient_name": "MULLER^JORG"}, True),
        ({"patient_name": "山田^太郎"}, {"patient_name": "Yamada^Tarou"}, True),
        ({"patient_name": "SMITH^ANNA"}, {"patient_name": "JONES^BOB"}, False),
        ({"patient_sex": "F"}, {"patient_sex": "M"}, False),
        ({"patient_sex": "F"}, {"patient_sex": "O"}, True),
        ({"patient_sex": "F"}, {"patient_sex": ""}, True),
    ],
)
def test_name_and_sex_tell_two_people_under_one_id(one, other, paired):
    (verdict,) = decide(scan(1, -1.0, **one), scan(2, 1.5, **other))
    assert isinstance(verdict, Paired) is paired
    if not paired:
        assert codes(verdict) == {"PATIENT_MISMATCH"}


def test_a_stack_that_was_left_out_is_named_where_a_partner_is_missing():
    derived = scan(1, -1.0, image_type=("DERIVED", "PRIMARY", "M"))
    (held,) = decide(derived, DELAYED)
    assert codes(held) == {"BASELINE_MISSING", "NOT_ORIGINAL"}
    assert isinstance(decide(derived, scan(3, -1.2), replace(DELAYED))[0], Paired)
