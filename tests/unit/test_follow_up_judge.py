"""What may be compared with a later scan at all."""

from dataclasses import replace

import pytest

from service.dicom.headers import parse_header
from service.dicom.policy import HoursWindow, PairingPolicy
from service.dicom.summaries import summarise
from service.errors import InputRefused
from service.follow_up import FollowUpJudge, by_fat_alone
from service.imaging.recipe_types import SignalReference
from tests.builders.dicom import to_bytes
from tests.builders.patients import INJECTED_AT, baseline_series, next_day_series


@pytest.mark.parametrize("reference", [None, SignalReference(kind="white_matter", baseline=1.0, delayed=1.1)])
def test_a_pair_that_white_matter_measured_is_not_compared(reference):
    with pytest.raises(InputRefused) as refused:
        by_fat_alone(reference)
    assert [reason.code for reason in refused.value.reasons] == ["REFERENCE_IS_WHITE_MATTER"]


def test_one_that_fat_measured_is():
    by_fat_alone(SignalReference(kind="orbital_fat", baseline=1.0, delayed=1.1))


def test_a_scan_that_a_corrected_time_puts_outside_the_window_is_not_judged_as_one_of_24_hours():
    baseline, later = (
        summarise([parse_header(to_bytes(dataset)) for dataset in of("P1")])
        for of in (baseline_series, next_day_series)
    )
    for latest_h, codes in ((28.0, []), (23.0, ["DELAYED_OUTSIDE_WINDOW"])):
        window = HoursWindow(name="24 h", earliest_h=20.0, latest_h=latest_h)
        policy = replace(PairingPolicy(), follow_up=window)
        judge = FollowUpJudge(None, policy=policy, fallback="none", clock=lambda: 0.0)
        try:
            assert judge._still_due(baseline, later, INJECTED_AT) == pytest.approx(24.0, abs=0.05)
            found = []
        except InputRefused as refusal:
            found = [reason.code for reason in refusal.reasons]
        assert found == codes
