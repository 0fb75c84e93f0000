"""The whole way with an archive that we did not write: store, commit, ask, and get from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, generate_uid

from service.errors import PeerUnavailable
from service.network.commitment import Commitments
from service.network.confirmation import confirm
from service.network.query import count_instances, known_instances
from service.network.storage_scp import storage_listener
from service.network.storage_scu import OutgoingInstance, echo, store
from tests.builders.network import QUICK, Inbox, encoded_dataset, outgoing, settings, write_series
from tests.builders.orthanc import DEAF
from tests.builders.programs import needs

pytestmark = [needs("Orthanc"), pytest.mark.xdist_group("orthanc")]


@pytest.fixture
def commitments():
    return Commitments()


@pytest.fixture
def inbox(ports, commitments):
    """What our listener gets, at the port that Orthanc knows, with commitment reports going to `commitments`."""
    received = Inbox()
    listener = storage_listener(
        settings(port=ports[0]), receive=received, admit=lambda _: None, on_commitment=commitments.record
    )
    listener.start()
    yield received
    listener.stop()


def _never_sent(item: OutgoingInstance) -> OutgoingInstance:
    return replace(item, sop_instance_uid=generate_uid(prefix=None))


def test_it_answers_us_and_not_a_stranger(pacs):
    echo(pacs, QUICK)
    with pytest.raises(PeerUnavailable, match="does not recognise our AE title 'STRANGER'"):
        echo(pacs, replace(QUICK, ae_title="STRANGER"))
    with pytest.raises(PeerUnavailable, match="does not recognise 'OTHER' as its AE title"):
        echo(replace(pacs, ae_title="OTHER"), QUICK)


@pytest.mark.parametrize("compressed", [False, True], ids=["uncompressed", "JPEG-LS"])
def test_it_keeps_what_we_send_byte_for_byte(orthanc, pacs, series, tmp_path, compressed):
    paths = write_series(tmp_path / "jls", 3, transfer_syntax=JPEGLSLossless) if compressed else series
    items = outgoing(paths)
    assert all(result.status == "0x0000" for result in store(pacs, QUICK, items))
    assert len(orthanc.instances()) == len(paths)
    for item in items:
        assert orthanc.file_of(item.sop_instance_uid).endswith(encoded_dataset(item.path))


def test_sending_again_is_accepted_and_changes_nothing(orthanc, pacs, series):
    for _ in range(2):
        assert all(result.accepted for result in store(pacs, QUICK, outgoing(series)))
    assert len(orthanc.instances()) == len(series)


@pytest.mark.usefixtures("inbox")
def test_it_commits_to_what_it_has_and_not_to_what_it_never_got(pacs, series, commitments):
    items = outgoing(series)
    store(pacs, QUICK, items)
    missing = _never_sent(items[0])
    answers = commitments.request(pacs, QUICK, [*items, missing], transaction_uid=generate_uid(), wait_s=10)
    assert answers == {item.sop_instance_uid: True for item in items} | {missing.sop_instance_uid: False}


@pytest.mark.usefixtures("inbox")
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_confirming_takes_its_commitment(pacs, series, commitments, mode):
    items = outgoing(series)
    store(pacs, QUICK, items[:3])
    answers = confirm(pacs, QUICK, items, commitment=mode, wait_s=10, commitments=commitments)
    assert [answers[item.sop_instance_uid] for item in items] == [True, True, True, False]


def test_where_its_reports_do_not_reach_us_only_auto_goes_by_the_query(pacs, series, commitments):
    items = outgoing(series)
    deaf = replace(QUICK, ae_title=DEAF)
    store(pacs, deaf, items[:3])
    required = confirm(pacs, deaf, items, commitment="required", wait_s=0.5, commitments=commitments)
    assert required == {}
    answers = confirm(pacs, deaf, items, commitment="auto", wait_s=0.5, commitments=commitments)
    assert [answers[item.sop_instance_uid] for item in items] == [True, True, True, False]


def test_the_query_counts_and_lists_a_series(pacs, series):
    items = outgoing(series)
    study, other_series = generate_uid(), generate_uid()
    first = confirm(pacs, QUICK, items, commitment="off", wait_s=0, commitments=Commitments())
    assert set(first.values()) == {False}
    store(pacs, QUICK, items)
    after = confirm(pacs, QUICK, items, commitment="off", wait_s=0, commitments=Commitments())
    assert set(after.values()) == {True}
    assert count_instances(pacs, QUICK, study, other_series) == 0


def test_the_query_names_the_instances_of_that_series_only(pacs, tmp_path):
    one, two = (write_series(tmp_path / key, 3, key=key) for key in ("one", "two"))
    store(pacs, QUICK, outgoing([*one, *two]))
    header = dcmread(one[0], stop_before_pixels=True)
    of_one = known_instances(pacs, QUICK, header.StudyInstanceUID, header.SeriesInstanceUID)
    assert of_one == {item.sop_instance_uid for item in outgoing(one)}
    assert count_instances(pacs, QUICK, header.StudyInstanceUID, header.SeriesInstanceUID) == 3


def test_a_peer_that_may_not_ask_learns_nothing(pacs, series):
    stranger = replace(QUICK, ae_title="STRANGER")
    with pytest.raises(PeerUnavailable):
        known_instances(pacs, stranger, "1.2.3", "1.2.4")


def test_it_routes_a_study_to_us(orthanc, pacs, series, inbox):
    items = outgoing(series)
    store(pacs, QUICK, items)
    orthanc.send("csf24", [item.sop_instance_uid for item in items])
    received = {item.sop_instance_uid: item for item in inbox.instances}
    assert set(received) == {item.sop_instance_uid for item in items}
    for item in items:
        assert received[item.sop_instance_uid].encoded_dataset == encoded_dataset(item.path)
        assert received[item.sop_instance_uid].calling_ae == orthanc.ae_title
