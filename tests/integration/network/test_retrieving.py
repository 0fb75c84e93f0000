"""What a PACS has of a patient, asked for and fetched: with Orthanc, and with peers that answer otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, MRImageStorage
from pynetdicom import evt

from service.errors import PeerUnavailable
from service.network.retrieve import Retrieved, get_series, move_series
from service.network.search import PatientSought, mr_series_of
from service.network.storage_scp import storage_listener
from service.network.storage_scu import store
from tests.builders.network import QUICK, Inbox, encoded_dataset, outgoing, peer, scripted_peer, settings, write_series
from tests.builders.programs import needs

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
VERIFICATION = "1.2.840.10008.1.1"
SOUGHT = PatientSought(patient_id="NET-prior", birth_date="", earliest=date(2024, 4, 14), latest=date(2024, 5, 14))


def in_orthanc(test):
    return needs("Orthanc")(pytest.mark.xdist_group("orthanc")(test))


@pytest.fixture
def prior(pacs, tmp_path):
    """A series that only the PACS has, beside one of another patient."""
    files = write_series(tmp_path / "prior", 4, key="prior")
    store(pacs, QUICK, outgoing([*files, *write_series(tmp_path / "other", 2, key="other")]))
    return files


@in_orthanc
def test_it_lists_the_series_of_that_patient_and_no_other(pacs, prior):
    (found,) = mr_series_of(pacs, QUICK, SOUGHT)
    header = dcmread(prior[0])
    assert (found.study_uid, found.series_uid) == (header.StudyInstanceUID, header.SeriesInstanceUID)
    assert found.instances == 4


@in_orthanc
def test_it_lists_nothing_outside_the_dates_nor_of_a_namesake_born_on_another_day(pacs, tmp_path):
    files = write_series(tmp_path / "born", 2, key="prior")
    for path in files:
        dataset = dcmread(path)
        dataset.PatientBirthDate = "19530101"
        dataset.save_as(path)
    store(pacs, QUICK, outgoing(files))
    assert mr_series_of(pacs, QUICK, replace(SOUGHT, birth_date="19530101"))
    assert mr_series_of(pacs, QUICK, replace(SOUGHT, birth_date="19530102")) == ()
    assert mr_series_of(pacs, QUICK, replace(SOUGHT, latest=date(2024, 5, 13))) == ()


@in_orthanc
def test_what_it_moves_to_us_arrives_at_our_listener_byte_for_byte(pacs, prior, ports):
    inbox = Inbox()
    listener = storage_listener(settings(port=ports[0]), receive=inbox, admit=lambda _: None)
    listener.start()
    try:
        (found,) = mr_series_of(pacs, QUICK, SOUGHT)
        got = move_series(pacs, QUICK, found.study_uid, found.series_uid)
    finally:
        listener.stop()
    assert got == Retrieved(completed=4, failed=0)
    assert sorted(item.encoded_dataset for item in inbox.instances) == sorted(map(encoded_dataset, prior))


@in_orthanc
def test_what_we_get_from_it_comes_on_our_own_association(pacs, prior):
    inbox, ended = Inbox(), []
    (found,) = mr_series_of(pacs, QUICK, SOUGHT)
    got = get_series(pacs, QUICK, found.study_uid, found.series_uid, receive=inbox, on_ended=ended.append)
    assert got == Retrieved(completed=4, failed=0)
    assert sorted(item.encoded_dataset for item in inbox.instances) == sorted(map(encoded_dataset, prior))
    assert {item.calling_ae for item in inbox.instances} == {"ORTHANC"}
    assert ended == [inbox.instances[0].association]


@in_orthanc
def test_compressed_images_are_got_as_they_are_or_uncompressed(pacs, tmp_path):
    files = write_series(tmp_path / "jls", 2, key="prior", transfer_syntax=JPEGLSLossless)
    store(pacs, QUICK, outgoing(files))
    inbox = Inbox()
    (found,) = mr_series_of(pacs, QUICK, SOUGHT)
    got = get_series(pacs, QUICK, found.study_uid, found.series_uid, receive=inbox)
    assert got.completed == 2
    assert {item.sop_instance_uid for item in inbox.instances} == {i.sop_instance_uid for i in outgoing(files)}


@in_orthanc
def test_one_that_does_not_know_our_ae_title_says_so(pacs, prior):
    header = dcmread(prior[0])
    stranger = replace(QUICK, ae_title="STRANGER")
    with pytest.raises(PeerUnavailable, match=r"STRANGER"):
        move_series(pacs, stranger, header.StudyInstanceUID, header.SeriesInstanceUID)


@in_orthanc
def test_where_our_listener_is_not_reached_the_failure_is_told(pacs, prior):
    header = dcmread(prior[0])
    with pytest.raises(PeerUnavailable, match="the retrieval failed"):
        move_series(pacs, QUICK, header.StudyInstanceUID, header.SeriesInstanceUID)


@pytest.mark.parametrize("patient_id", ["", "  ", "*", "P?", "A\\B"])
def test_a_patient_id_that_would_list_other_patients_is_not_asked_for(patient_id):
    with pytest.raises(ValueError, match="cannot be asked for"):
        mr_series_of(peer(1), QUICK, replace(SOUGHT, patient_id=patient_id))


def test_a_peer_that_lists_other_patients_is_not_believed():
    def answer(event: evt.Event):
        for patient in ("NET-PRIOR", "NET-prior2", "NET-other"):
            match = Dataset()
            match.PatientID, match.StudyInstanceUID = patient, "1.2.3"
            yield 0xFF00, match

    with scripted_peer([(evt.EVT_C_FIND, answer)], FIND) as pacs:
        assert mr_series_of(pacs, QUICK, SOUGHT) == ()


@pytest.mark.parametrize(
    ("offered", "statuses", "said"),
    [((VERIFICATION,), [], "offers no C-FIND"), ((FIND,), [0xA700], "failed with status 0xA700")],
    ids=["no C-FIND", "fails"],
)
def test_a_peer_that_cannot_be_asked_is_unavailable_and_not_empty(offered, statuses, said):
    def answer(event: evt.Event):
        for status in statuses:
            yield status, None

    with scripted_peer([(evt.EVT_C_FIND, answer)], *offered) as pacs, pytest.raises(PeerUnavailable, match=said):
        mr_series_of(pacs, QUICK, SOUGHT)


def test_a_destination_that_is_unknown_there_is_explained():
    def answer(event: evt.Event):
        yield None, None  # the library makes Move Destination Unknown of it

    with (
        scripted_peer([(evt.EVT_C_MOVE, answer)], MOVE) as pacs,
        pytest.raises(PeerUnavailable, match="does not know the AE title CSF24; enter it there"),
    ):
        move_series(pacs, QUICK, "1.2", "1.2.3")


@pytest.mark.parametrize("fetch", [move_series, lambda *given: get_series(*given, receive=Inbox())])
def test_a_peer_that_hands_nothing_out_is_unavailable(fetch):
    with scripted_peer([], VERIFICATION, MRImageStorage) as pacs, pytest.raises(PeerUnavailable, match="offers no C-"):
        fetch(pacs, QUICK, "1.2", "1.2.3")
