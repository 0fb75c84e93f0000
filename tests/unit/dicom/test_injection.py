from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.injection import (
    InjectionTimes,
    TableEntry,
    contrast_start_of,
    hours_between,
    injection_time_for,
    read_injection_table,
    unused_contrast_start,
)
from service.errors import ConfigError
from tests.builders.t1_series import INJECTION, after, t1_series

BASELINE_STUDY, DELAYED_STUDY = "1.2.1", "1.2.2"
BASELINE = t1_series(1, after(-1.0), slices=range(2), study_instance_uid=BASELINE_STUDY)
DELAYED = t1_series(2, after(1.5), slices=range(2), study_instance_uid=DELAYED_STUDY, contrast_start=after(0.1))
UID = DELAYED.series_instance_uid
ELSEWHEN = datetime(2025, 1, 1, 9, 0)


def test_the_earlier_source_wins() -> None:
    table = {"P1": (TableEntry(injection_time=after(0.2)),)}
    times = InjectionTimes(explicit=after(0.4), by_series={UID: after(0.3)}, table=table)
    assert injection_time_for(DELAYED, BASELINE, times) == after(0.4)
    times = InjectionTimes(by_series={UID: after(0.3)}, table=table)
    assert injection_time_for(DELAYED, BASELINE, times) == after(0.3)
    assert injection_time_for(DELAYED, BASELINE, InjectionTimes(table=table)) == after(0.2)
    assert injection_time_for(DELAYED, BASELINE, InjectionTimes()) == after(0.1)
    assert injection_time_for(BASELINE, None, InjectionTimes()) is None


def test_the_time_that_a_person_gave_for_another_series_does_not_count() -> None:
    assert injection_time_for(DELAYED, None, InjectionTimes(by_series={"1.2.3": ELSEWHEN})) == after(0.1)


@pytest.mark.parametrize("study", [BASELINE_STUDY, DELAYED_STUDY])
def test_a_row_for_either_study_comes_before_the_patients_other_rows(study: str) -> None:
    table = {
        "P1": (
            TableEntry(injection_time=after(0.1)),
            TableEntry(injection_time=after(0.2), study_instance_uid=study),
            TableEntry(injection_time=after(0.3), study_instance_uid="1.2.9"),
        )
    }
    assert injection_time_for(DELAYED, BASELINE, InjectionTimes(table=table)) == after(0.2)


def test_of_several_injections_the_last_before_the_delayed_series_counts() -> None:
    rows = tuple(TableEntry(injection_time=INJECTION + timedelta(days=days)) for days in (-400, 0, 400))
    assert injection_time_for(DELAYED, BASELINE, InjectionTimes(table={"P1": rows})) == INJECTION


def test_an_injection_that_lies_after_the_series_is_handed_on_so_that_the_check_can_say_so() -> None:
    rows = (TableEntry(injection_time=after(12.0)),)
    assert injection_time_for(DELAYED, BASELINE, InjectionTimes(table={"P1": rows})) == after(12.0)


@pytest.mark.parametrize(
    ("route", "start", "taken"),
    [
        ("INTRATHECAL", 0.0, True),
        ("Intrathecal route", 1.4, True),
        ("lumbar puncture", 0.0, True),
        ("", 0.0, True),
        ("", 1.0, True),
        ("", 1.01, False),  # half an hour before the scan: a bolus
        ("INTRAVENOUS", 0.0, False),
        ("IV", 0.0, False),
        ("ORAL", 0.0, False),
    ],
)
def test_a_contrast_start_counts_where_it_can_be_intrathecal(route: str, start: float, taken: bool) -> None:
    series = t1_series(2, after(1.5), slices=range(2), contrast_route=route, contrast_start=after(start))
    assert contrast_start_of(series) == (after(start) if taken else None)
    reason = unused_contrast_start(series)
    assert (reason is None) == taken
    if reason is not None:
        assert (reason.code, reason.measured) == ("CONTRAST_START_NOT_USED", route or "no route")


def test_a_series_without_a_contrast_start_has_nothing_to_explain() -> None:
    assert unused_contrast_start(BASELINE) is None


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_table_is_read_with_either_separator(separator: str) -> None:
    rows = [
        "Patient_ID,Injection_Time,Study_Instance_UID",
        "P1, 2026-03-04T09:30 ,",
        "",
        "P1,2026-04-20 10:05:30,1.2.3",
    ]
    rows.append("P2,2026-03-04T09:30+01:00,")
    table = read_injection_table("\ufeff" + "\r\n".join(rows).replace(",", separator))
    assert table["P1"] == (
        TableEntry(injection_time=INJECTION),
        TableEntry(injection_time=datetime(2026, 4, 20, 10, 5, 30), study_instance_uid="1.2.3"),
    )
    (entry,) = table["P2"]
    assert entry.injection_time == datetime(2026, 3, 4, 8, 30, tzinfo=UTC)


def test_the_study_column_may_be_left_out_and_rows_come_in_any_order() -> None:
    table = read_injection_table("injection_time,patient_id\n2026-03-04T09:30,P1\n2024-03-04T09:30,P1\n")
    assert [entry.injection_time.year for entry in table["P1"]] == [2024, 2026]


def test_every_fault_of_a_table_is_listed_by_line_and_no_patient_is_quoted() -> None:
    text = "\n".join(
        [
            "patient_id,injection_time,study_instance_uid",
            "SECRET1,yesterday,",
            ",2026-03-04T09:30,",
            "SECRET2,2026-03-04,",  # no time of day
            "SECRET3,2026-03-04T09:30",
            "SECRET4,2026-03-04T09:30,",
            "SECRET4,2026-03-04T10:30,",
            "SECRET4,2026-03-04T09:30,",  # said twice is no contradiction
        ]
    )
    with pytest.raises(ConfigError) as caught:
        read_injection_table(text)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        f"injection times, line {line}" for line in (2, 3, 4, 5, 7)
    ]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "heading",
    [
        "",
        "patient_id",
        "SECRET1,2026-03-04T09:30",
        "patient_id,injection_time,study",
        "patient_id,patient_id,injection_time",
    ],
)
def test_a_table_without_the_right_heading_is_refused_without_quoting_it(heading: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_injection_table(heading + "\nSECRET2,2026-03-04T09:30\n")
    assert "SECRET" not in str(caught.value).upper()


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.integers(-12, 14), st.floats(0, 700))
def test_hours_are_those_of_the_scanners_clock_whichever_side_states_an_offset(
    moment: datetime, offset_h: int, hours: float
) -> None:
    zone = timezone(timedelta(hours=offset_h))
    later = moment + timedelta(hours=hours)
    aware, aware_later = moment.replace(tzinfo=zone), later.replace(tzinfo=zone)
    expected = pytest.approx(hours, abs=1e-6)
    assert hours_between(moment, later, None) == expected
    assert hours_between(moment, aware_later, zone) == expected
    assert hours_between(aware, later, None) == expected  # as written, when no series says better
    assert hours_between(aware.astimezone(UTC), aware_later, zone) == expected
    assert hours_between(aware.astimezone(UTC), later, zone) == expected
