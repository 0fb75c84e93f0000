from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.records import InstanceHeader, StoredInstance
from service.errors import InputRefused, Reason, StorageUnavailable
from service.storage.header_json import header_from_json, header_to_json
from service.storage.instance_ledger import Recorded
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from tests.builders.received import NOON, make_header, make_stored, series_uid, spool_one

_DATETIMES = st.datetimes(timezones=st.none() | st.just(timezone(timedelta(hours=-7, minutes=-30))))


@given(
    text=st.text(max_size=20),
    number=st.none() | st.integers(-5, 5),
    spacing=st.none() | st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)),
    positions=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple),
    acquired=st.none() | _DATETIMES,
)
def test_a_header_survives_its_json(text, number, spacing, positions, acquired) -> None:
    header = make_header(
        series_description=text,
        series_number=number,
        pixel_spacing_mm=spacing,
        positions_mm=positions,
        acquired_at=acquired,
        contrast_start=acquired,
        image_type=(text, text),
    )
    read = header_from_json(header_to_json(header))
    assert read == header
    assert all(type(getattr(read, f.name)) is type(getattr(header, f.name)) for f in fields(InstanceHeader))


def test_a_header_of_another_version_is_not_guessed_at() -> None:
    text = header_to_json(make_header()).replace('"modality"', '"modalities"')
    with pytest.raises(ValueError, match="modalit"):
        header_from_json(text)


def test_an_instance_is_new_once_and_then_a_duplicate(ledger: Ledger) -> None:
    header = make_header()
    assert ledger.instances.record(make_stored(header), header) is Recorded.NEW
    assert ledger.instances.record(make_stored(header, at=NOON + timedelta(hours=1)), header) is Recorded.DUPLICATE

    assert ledger.instances.instances_of(header.series_instance_uid) == (make_stored(header),)
    assert ledger.instances.headers_of(header.series_instance_uid) == (header,)
    assert ledger.instances.last_received_at(header.series_instance_uid) == NOON


def test_other_content_under_the_same_uid_is_a_conflict_and_never_used(ledger: Ledger) -> None:
    header = make_header()
    ledger.instances.record(make_stored(header, "first"), header)
    other = replace(header, rows=99)
    assert ledger.instances.record(make_stored(other, "second"), other) is Recorded.CONFLICT
    assert ledger.instances.record(make_stored(other, "second"), other) is Recorded.DUPLICATE

    assert ledger.instances.headers_of(header.series_instance_uid) == (header,)
    row = ledger.instances.series(header.series_instance_uid)
    assert row is not None
    assert (row.n_instances, row.n_conflicts) == (1, 1)
    assert ledger.counts().conflicts == 1


def test_a_series_that_grows_while_it_is_settled_stays_unsettled(ledger: Ledger) -> None:
    first, second = make_header(number=1), make_header(number=2)
    ledger.instances.record(make_stored(first), first)
    (patient,) = ledger.instances.patients_with_unsettled_series()
    seen = ledger.instances.series_of_patient(patient)

    ledger.instances.record(make_stored(second), second)
    ledger.instances.settle(seen)
    assert ledger.instances.patients_with_unsettled_series() == (patient,)

    ledger.instances.settle(ledger.instances.series_of_patient(patient))
    assert ledger.instances.patients_with_unsettled_series() == ()


def test_series_of_one_patient_are_found_across_studies_and_issuers(ledger: Ledger) -> None:
    baseline = make_header(1)
    delayed = make_header(2, study_instance_uid="1.2.9", issuer_of_patient_id="ELSEWHERE")
    stranger = make_header(1, patient=2)
    for header in (baseline, delayed, stranger):
        ledger.instances.record(make_stored(header), header)

    by_patient = [
        [row.series_uid for row in ledger.instances.series_of_patient(key)]
        for key in ledger.instances.patients_with_unsettled_series()
    ]
    assert sorted(by_patient) == [[series_uid(1), series_uid(2)], [series_uid(1, 2)]]


def test_series_without_patient_id_are_not_thrown_together(ledger: Ledger) -> None:
    for number in (1, 2):
        header = make_header(number, patient_id="", study_instance_uid=f"1.2.{number}")
        ledger.instances.record(make_stored(header), header)
    assert len(ledger.instances.patients_with_unsettled_series()) == 2


def test_times_come_back_aware_and_the_same(ledger: Ledger) -> None:
    header = make_header()
    east = datetime(2026, 3, 4, 23, 30, tzinfo=timezone(timedelta(hours=9)))
    ledger.instances.record(make_stored(header, at=east), header)
    received = ledger.instances.last_received_at(header.series_instance_uid)
    assert received == east
    assert received.tzinfo is UTC


def test_a_lost_ledger_is_rebuilt_from_the_spool_alone(tmp_path: Path, spool: Spool) -> None:
    headers = {
        make_header(series, number).sop_instance_uid: make_header(series, number)
        for series in (1, 2)
        for number in (1, 2)
    }
    before = Ledger.open(f"sqlite:///{tmp_path}/before.sqlite")
    for header in headers.values():
        stored = spool_one(spool, header, header.sop_instance_uid.encode())
        before.instances.record(stored, header)
    conflicting = make_header(1, 1)
    before.instances.record(spool_one(spool, conflicting, b"other content"), conflicting)
    unreadable = make_header(3, 1)
    spool_one(spool, unreadable)

    def read_header(stored: StoredInstance) -> InstanceHeader:
        if stored.sop_instance_uid == unreadable.sop_instance_uid:
            raise InputRefused(Reason(code="NOT_DICOM", message="cannot be read"))
        return headers[stored.sop_instance_uid]

    after = Ledger.open(f"sqlite:///{tmp_path}/after.sqlite")
    rebuilt = after.instances.rebuild_from(spool, read_header, now=NOON)

    assert (rebuilt.recorded, rebuilt.rejected) == (5, 1)
    for series in (1, 2):
        uids = [
            [item.relative_path for item in led.instances.instances_of(series_uid(series))] for led in (before, after)
        ]
        assert sorted(uids[0]) == sorted(uids[1])
    assert after.counts().conflicts == 1
    assert [item.reason.code for item in after.instances.rejected()] == ["NOT_DICOM"]
    assert after.instances.rebuild_from(spool, read_header, now=NOON).recorded == 0
    before.close()
    after.close()


def test_a_failing_database_says_so_without_patient_data(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    header = make_header(patient_id="SECRET")
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE instances")

    with pytest.raises(StorageUnavailable) as caught:
        ledger.instances.record(make_stored(header), header)

    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in str(caught.value.__cause__)
    ledger.close()
