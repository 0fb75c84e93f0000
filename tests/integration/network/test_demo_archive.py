"""The demo's archive, asked by DCMTK and by our own client."""

from __future__ import annotations

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from service.network.archive import DemoArchive
from service.network.commitment import Commitments
from service.network.confirmation import confirm
from service.network.query import count_instances
from service.network.storage_scu import echo, store
from tests.builders import dcmtk
from tests.builders.network import QUICK, encoded_dataset, outgoing, peer, settings
from tests.builders.programs import needs


@pytest.fixture
def archive(tmp_path):
    demo = DemoArchive(tmp_path / "archive", settings(ae_title="DEMO"))
    demo.start()
    yield demo
    demo.stop()


@pytest.fixture
def pacs(archive):
    return peer(archive.port, "DEMO")


@needs("storescu")
def test_it_keeps_what_dcmtk_sends_as_part_10_files(archive, series):
    assert dcmtk.storescu(archive.port, series).status == 0
    kept = archive.received()
    assert [dcmread(path).SOPInstanceUID for path in kept] == [item.sop_instance_uid for item in outgoing(series)]
    assert [encoded_dataset(path) for path in kept] == [encoded_dataset(path) for path in series]
    assert dcmtk.run("dcmftest", *kept).status == 0
    assert dcmread(kept[0]).file_meta.SourceApplicationEntityTitle == "DCMTK"
    for path in kept:  # the names give nothing away
        assert dcmread(path).SOPInstanceUID not in path.name


@needs("findscu")
def test_dcmtk_finds_the_instances_of_a_series(archive, pacs, series):
    store(pacs, QUICK, outgoing(series))
    header = dcmread(series[0])
    keys = (f"StudyInstanceUID={header.StudyInstanceUID}", f"SeriesInstanceUID={header.SeriesInstanceUID}")
    found = dcmtk.findscu(archive.port, "QueryRetrieveLevel=IMAGE", *keys, "SOPInstanceUID")
    for item in outgoing(series):
        assert found.text.count(item.sop_instance_uid) == 1
    nothing = dcmtk.findscu(archive.port, "QueryRetrieveLevel=IMAGE", keys[0], "SeriesInstanceUID=1.2.3")
    assert "Received Final Find Response (Success)" in nothing.text
    assert item.sop_instance_uid not in nothing.text
    assert "Error: DataSetDoesNotMatchSOPClass" in dcmtk.findscu(archive.port, "QueryRetrieveLevel=STUDY").text


@pytest.mark.parametrize("mode", ["required", "off"])
def test_it_confirms_what_it_has_and_nothing_else(pacs, series, mode):
    echo(pacs, QUICK)
    items = outgoing(series)
    store(pacs, QUICK, items[:3])
    answers = confirm(pacs, QUICK, items, commitment=mode, wait_s=5, commitments=Commitments())
    assert [answers[item.sop_instance_uid] for item in items] == [True, True, True, False]


def test_it_does_not_commit_to_a_file_that_is_gone(archive, pacs, series):
    items = outgoing(series)
    store(pacs, QUICK, items)
    archive.received()[1].unlink()
    answers = Commitments().request(pacs, QUICK, items, transaction_uid=generate_uid(), wait_s=5)
    assert answers is not None
    assert [answers[item.sop_instance_uid] for item in items] == [True, False, True, True]


def test_what_is_in_the_folder_is_there_after_a_restart(archive, pacs, series, tmp_path):
    store(pacs, QUICK, outgoing(series))
    archive.stop()
    again = DemoArchive(tmp_path / "archive", settings(ae_title="DEMO"))
    again.start()
    header = dcmread(series[0])
    uids = (header.StudyInstanceUID, header.SeriesInstanceUID)
    assert count_instances(peer(again.port, "DEMO"), QUICK, *uids) == len(series)
    again.stop()


def test_the_same_instance_twice_is_one_file(archive, pacs, series):
    store(pacs, QUICK, outgoing(series))
    store(pacs, QUICK, outgoing(series))
    assert len(archive.received()) == len(list((archive.received()[0].parent).iterdir())) == len(series)
