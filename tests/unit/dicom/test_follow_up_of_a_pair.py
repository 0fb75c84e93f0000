"""Which scan of the next day a pair's prediction is held against."""

from dataclasses import replace
from datetime import timedelta

from service.dicom.injection import InjectionTimes, TableEntry
from service.dicom.pairing import pair
from service.dicom.policy import HoursWindow, PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.verdicts import Paired, Verdict
from tests.builders.received import NOON, series_uid
from tests.builders.t1_series import INJECTION, N_SLICES, after, t1_series

NEXT_DAYS = HoursWindow(name="24 h", earliest_h=20.0, latest_h=28.0)
PAIRED = Paired(
    baseline_series_uid=series_uid(1),
    delayed_series_uid=series_uid(2),
    injection_time=INJECTION,
    hours_after_injection=1.5,
    wait=timedelta(seconds=5),
)


def scan(series: int, hours: float, **changes: object) -> SeriesSummary:
    return t1_series(series, after(hours), **{"study_instance_uid": f"1.2.{series}", **changes})


BASELINE, DELAYED, NEXT_DAY = scan(1, -1.0), scan(2, 1.5), scan(3, 24.0)


def decide(*series: SeriesSummary, follow_up: HoursWindow | None = NEXT_DAYS) -> tuple[Verdict, ...]:
    told = InjectionTimes(table={"P1": (TableEntry(injection_time=INJECTION),)})
    policy = PairingPolicy(follow_up=follow_up, time_points=(NEXT_DAYS,))
    arrivals = {item.series_instance_uid: NOON for item in series}
    return pair(series, NOON + timedelta(days=30), policy=policy, injection_times=told, last_received=arrivals)


def test_the_scan_of_the_next_day_follows_up_the_pair():
    followed = replace(PAIRED, follow_up_series_uid=series_uid(3), follow_up_hours=24.0)
    assert decide(BASELINE, DELAYED, NEXT_DAY) == (followed,)


def test_of_several_the_one_nearest_to_24_h_does():
    (found,) = decide(BASELINE, DELAYED, scan(3, 21.0), scan(4, 24.5), scan(5, 26.0))
    assert isinstance(found, Paired)
    assert (found.follow_up_series_uid, found.follow_up_hours) == (series_uid(4), 24.5)


def test_no_other_time_does():
    assert decide(BASELINE, DELAYED, scan(3, 4.0), scan(4, 48.0), scan(5, 19.9)) == (PAIRED,)


def test_a_scan_of_another_sequence_does_not():
    assert decide(BASELINE, DELAYED, scan(3, 24.0, repetition_time_ms=9.0)) == (PAIRED,)


def test_a_scan_with_missing_slices_does_not():
    torn = scan(3, 24.0, slices=[k for k in range(N_SLICES) if k != 80])
    assert decide(BASELINE, DELAYED, torn) == (PAIRED,)


def test_none_is_looked_for_where_the_policy_has_no_such_time():
    assert decide(BASELINE, DELAYED, NEXT_DAY, follow_up=None) == (PAIRED,)
