"""Reception: a file, then a row, then the acknowledgement; and what a kill in between leaves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from structlog.testing import capture_logs

from service.errors import StorageUnavailable
from service.jobs.reception import Arrival, Receiver, Reception
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from tests.builders.batch import small_baseline
from tests.builders.dicom_encoding import encode
from tests.builders.network import encoded_dataset, write_series
from tests.builders.patients import write
from tests.builders.received import NOON

PATIENT = "NET-series"
"""Patient ID in the files of `write_series`."""


class Killed(BaseException):
    """The process ends here; nothing catches it."""


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    yield spool
    spool.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def receiver(spool: Spool, ledger: Ledger) -> Receiver:
    return Receiver(spool, ledger, now=lambda: NOON)


@pytest.fixture
def arrivals(tmp_path: Path) -> list[Arrival]:
    """Four instances of one series."""
    return [arrival_of(path) for path in write_series(tmp_path / "sent", 4)]


def arrival_of(path: Path) -> Arrival:
    header = dcmread(path, stop_before_pixels=True)
    return Arrival(
        encoded_dataset=encoded_dataset(path),
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        calling_ae="SCANNER",
    )


def series_of(arrival: Arrival, spool: Spool) -> str:
    (path,) = [p for p in files(spool) if dcmread(p).SOPInstanceUID == arrival.sop_instance_uid]
    return str(dcmread(path).SeriesInstanceUID)


def files(spool: Spool) -> list[Path]:
    return sorted(spool.root.glob("objects/*/*"))


def test_an_instance_is_acknowledged_once_its_file_and_then_its_row_are_there(
    receiver: Receiver, spool: Spool, ledger: Ledger, arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    record = ledger.instances.record

    def watched(*given: object) -> object:
        before = (len(files(spool)), ledger.counts().instances)
        done = record(*given)
        seen.extend([before, (len(files(spool)), ledger.counts().instances)])
        return done

    monkeypatch.setattr(ledger.instances, "record", watched)
    assert receiver.receive(arrivals[0]) is Reception.KEPT
    assert seen == [(1, 0), (1, 1)]
    (stored,) = ledger.instances.instances_of(series_of(arrivals[0], spool))
    assert (stored.calling_ae, stored.received_at) == ("SCANNER", NOON)
    assert spool.read(stored).endswith(arrivals[0].encoded_dataset)


def test_a_full_disk_is_told_and_leaves_neither_file_nor_row(
    tmp_path: Path, ledger: Ledger, arrivals: list[Arrival]
) -> None:
    full = Spool(tmp_path / "full", min_free_bytes=1 << 60)
    with pytest.raises(StorageUnavailable, match="short of space"):
        Receiver(full, ledger, now=lambda: NOON).receive(arrivals[0])
    assert files(full) == []
    assert ledger.counts().instances == 0
    full.close()


def test_a_ledger_that_fails_is_told_and_the_instance_is_taken_when_it_is_sent_again(
    receiver: Receiver, spool: Spool, ledger: Ledger, arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageUnavailable("the ledger failed: OperationalError")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.instances, "record", fail)
        with pytest.raises(StorageUnavailable):
            receiver.receive(arrivals[0])
    assert ledger.counts().instances == 0
    assert receiver.receive(arrivals[0]) is Reception.KEPT
    assert (ledger.counts().instances, len(files(spool))) == (1, 1)


def test_a_kill_between_file_and_row_is_made_good_at_the_next_start(
    receiver: Receiver, spool: Spool, ledger: Ledger, arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    receiver.receive(arrivals[0])
    with monkeypatch.context() as patch:
        patch.setattr(ledger.instances, "record", killed)
        with pytest.raises(Killed):
            receiver.receive(arrivals[1])
    assert (len(files(spool)), ledger.counts().instances) == (2, 1)

    recovered = receiver.recover()
    assert (recovered.recorded, recovered.rejected) == (1, 0)
    uids = {stored.sop_instance_uid for stored in ledger.instances.instances_of(series_of(arrivals[1], spool))}
    assert uids == {arrival.sop_instance_uid for arrival in arrivals[:2]}
    # The sender, which was not answered, sends it again; and another start finds nothing to do.
    assert receiver.receive(arrivals[1]) is Reception.KEPT
    assert receiver.recover().recorded == 0
    counts = ledger.counts()
    assert (counts.instances, counts.conflicts) == (2, 0)


def test_the_same_again_changes_nothing_and_other_content_stands_beside_the_first(
    receiver: Receiver, spool: Spool, ledger: Ledger, arrivals: list[Arrival]
) -> None:
    first = arrivals[0]
    assert receiver.receive(first) is receiver.receive(first) is Reception.KEPT
    assert (ledger.counts().instances, len(files(spool))) == (1, 1)

    other = replace(first, encoded_dataset=first.encoded_dataset[:-2] + b"\x07\x07")
    assert receiver.receive(other) is Reception.KEPT  # what a sender hands over is never refused for our doubts
    assert (ledger.counts().conflicts, len(files(spool))) == (1, 2)
    (stands,) = ledger.instances.instances_of(str(dcmread(files(spool)[0]).SeriesInstanceUID))
    assert spool.read(stands).endswith(first.encoded_dataset)


@pytest.fixture
def image(tmp_path: Path) -> Callable[..., Arrival]:
    """One image of a head series, with its place in space, in any encoding and with any further tags."""
    numbers = itertools.count()

    def made(syntax: str = ExplicitVRLittleEndian, **tags: object) -> Arrival:
        (dataset,) = encode(small_baseline(**tags)[:1], syntax)
        (path,) = write([dataset], tmp_path / "images" / str(next(numbers)))
        return arrival_of(path)

    return made


def test_an_image_that_comes_again_in_another_encoding_is_no_conflict_and_held_once(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival]
) -> None:
    told: list[str] = []
    for arrival in (image(), image(JPEGLSLossless), image(InstitutionName="Elsewhere"), image(RLELossless)):
        kept = receiver.receive(arrival, tell=lambda header: told.append(header.sop_instance_uid))
        assert kept is Reception.KEPT
    counts = ledger.counts()
    assert (counts.instances, counts.conflicts, len(files(spool)), len(told)) == (1, 0, 1, 4)
    assert receiver.recover().recorded == 0


@pytest.mark.parametrize("tags", [{"RescaleSlope": "1", "RescaleIntercept": "7"}, {"PatientName": "Other^Name"}])
def test_another_image_or_person_under_one_uid_is_a_conflict_whatever_its_encoding(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival], tags: dict[str, object]
) -> None:
    receiver.receive(image())
    receiver.receive(image(JPEGLSLossless, **tags))
    assert (ledger.counts().conflicts, len(files(spool))) == (1, 2)


def test_the_same_image_is_kept_where_the_one_held_is_damaged(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival]
) -> None:
    receiver.receive(image())
    (held,) = files(spool)
    held.write_bytes(held.read_bytes()[:-100])
    receiver.receive(image(JPEGLSLossless))
    assert len(files(spool)) == 2


def test_a_copy_that_a_kill_left_without_its_row_is_no_conflict_at_the_next_start(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.receive(image())
    with monkeypatch.context() as patch:
        patch.setattr(spool, "has_another", _killed)
        with pytest.raises(Killed):
            receiver.receive(image(JPEGLSLossless))
    assert len(files(spool)) == 2
    assert receiver.recover().recorded == 0
    assert (ledger.counts().instances, ledger.counts().conflicts, len(files(spool))) == (1, 0, 1)


def test_a_conflict_between_two_forms_of_one_image_is_gone_once_it_is_sent_again(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.receive(image())
    with monkeypatch.context() as patch:  # as when both arrive at one moment
        patch.setattr(spool, "has_another", lambda _: False)
        receiver.receive(image(JPEGLSLossless))
    assert ledger.counts().conflicts == 1
    receiver.receive(image(JPEGLSLossless))
    assert (ledger.counts().instances, ledger.counts().conflicts, len(files(spool))) == (1, 0, 1)


def test_forms_of_one_image_on_many_associations_at_once_leave_it_usable(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival]
) -> None:
    forms = [image(), image(JPEGLSLossless), image(RLELossless)]
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(receiver.receive, forms * 4)) == {Reception.KEPT}
    uid = str(dcmread(files(spool)[0]).SeriesInstanceUID)
    (stands,) = ledger.instances.instances_of(uid)
    assert spool.read(stands)
    for form in forms:  # whatever missed each other in the rush is made good by sending again
        receiver.receive(form)
    assert (ledger.counts().instances, ledger.counts().conflicts, len(files(spool))) == (1, 0, 1)


def test_a_copy_that_another_association_has_just_found_to_be_the_same_is_no_conflict(
    receiver: Receiver, spool: Spool, ledger: Ledger, image: Callable[..., Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.receive(image())
    real = ledger.instances.usable

    def after_the_other(uid: str) -> object:
        (spool.root / max(files(spool), key=lambda path: path.stat().st_mtime_ns)).unlink()
        return real(uid)

    monkeypatch.setattr(ledger.instances, "usable", after_the_other)
    assert receiver.receive(image(JPEGLSLossless)) is Reception.KEPT
    assert (ledger.counts().instances, ledger.counts().conflicts, len(files(spool))) == (1, 0, 1)


def _killed(*_: object) -> None:
    raise Killed


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
@pytest.mark.parametrize(
    ("altered", "expected"),
    [
        ({"encoded_dataset": b""}, (Reception.NOT_UNDERSTOOD, "NOT_DICOM")),
        ({"encoded_dataset": b"not a data set"}, (Reception.NOT_UNDERSTOOD, "MISSING_UID")),
        ({"sop_instance_uid": "1.2.826.0.1.99"}, (Reception.MISMATCH, "UID_MISMATCH")),
    ],
)
def test_what_cannot_be_used_is_set_aside_with_its_reason_once_and_for_all_starts(
    receiver: Receiver, ledger: Ledger, arrivals: list[Arrival], altered: dict[str, Any], expected: tuple[object, str]
) -> None:
    answer, code = expected
    with capture_logs() as logged:
        assert receiver.receive(replace(arrivals[0], **altered)) is answer
        assert receiver.receive(replace(arrivals[0], **altered)) is answer
    (rejected,) = ledger.instances.rejected()
    assert (rejected.reason.code, rejected.calling_ae) == (code, "SCANNER")
    assert rejected.relative_path  # kept for whoever has to find out
    assert ledger.counts().instances == 0
    recovered = receiver.recover()
    assert (recovered.recorded, recovered.rejected) == (0, 0)
    assert [entry["code"] for entry in logged] == [code, code]
    assert PATIENT not in str(logged) + str(rejected)


def test_an_object_set_aside_keeps_nothing_from_being_used_that_comes_after_it(
    receiver: Receiver, ledger: Ledger, arrivals: list[Arrival]
) -> None:
    receiver.receive(replace(arrivals[0], encoded_dataset=b"cut"))
    assert receiver.receive(arrivals[0]) is Reception.KEPT
    counts = ledger.counts()
    assert (counts.instances, counts.rejected, counts.conflicts) == (1, 1, 0)


def test_a_lost_ledger_comes_back_from_the_spool_with_what_was_set_aside(
    receiver: Receiver, spool: Spool, tmp_path: Path, arrivals: list[Arrival]
) -> None:
    for arrival in arrivals:
        receiver.receive(arrival)
    receiver.receive(replace(arrivals[0], sop_instance_uid="1.2.826.0.1.99"))

    fresh = Ledger.open(f"sqlite:///{tmp_path}/fresh.sqlite")
    recovered = Receiver(spool, fresh, now=lambda: NOON).recover()
    assert (recovered.recorded, recovered.rejected) == (4, 1)
    assert [item.reason.code for item in fresh.instances.rejected()] == ["UID_MISMATCH"]
    assert fresh.counts().instances == 4
    fresh.close()


def test_many_associations_at_once_leave_each_instance_once(
    receiver: Receiver, spool: Spool, ledger: Ledger, tmp_path: Path
) -> None:
    sent = [arrival_of(path) for path in write_series(tmp_path / "many", 12, key="many")]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(receiver.receive, [*sent, *reversed(sent), *sent]))
    assert set(answers) == {Reception.KEPT}
    counts = ledger.counts()
    assert (counts.instances, counts.conflicts, len(files(spool))) == (12, 0, 12)


def test_closing_leaves_no_thread_that_would_keep_the_process_from_ending(
    receiver: Receiver, arrivals: list[Arrival]
) -> None:
    def helpers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("reception")]

    before = helpers()
    receiver.receive(arrivals[0])
    assert len(helpers()) > len(before)
    receiver.close()
    assert set(helpers()) <= set(before)
