"""Our client against DCMTK's storescp, and against peers that abort, refuse or never answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Event, Thread

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, MRImageStorage
from pynetdicom import evt

from service.errors import PeerUnavailable, StorageUnavailable
from service.network.admission import accept_policy
from service.network.storage_scu import echo, store
from tests.builders import dcmtk
from tests.builders.network import (
    LOOPBACK,
    QUICK,
    Inbox,
    associate,
    encoded_dataset,
    outgoing,
    peer,
    scripted_peer,
    write_series,
)
from tests.builders.programs import free_ports, needs, wait_until

VERIFICATION = "1.2.840.10008.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections, and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def _received(folder):
    return {dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}


@needs("storescp")
def test_files_arrive_at_storescp_byte_for_byte(tmp_path, series):
    with dcmtk.storescp(tmp_path / "pacs") as port:
        echo(peer(port, "STORESCP"), QUICK)
        results = store(peer(port, "STORESCP"), QUICK, outgoing(series))
    assert [(result.status, result.accepted) for result in results] == [("0x0000", True)] * 4
    arrived = _received(tmp_path / "pacs")
    for item, result in zip(outgoing(series), results, strict=True):
        assert result.sop_instance_uid == item.sop_instance_uid
        assert encoded_dataset(arrived[item.sop_instance_uid]) == encoded_dataset(item.path)


@needs("storescp")
def test_compressed_files_arrive_as_they_are_where_that_is_accepted(tmp_path):
    paths = write_series(tmp_path / "series", 2, transfer_syntax=JPEGLSLossless)
    with dcmtk.storescp(tmp_path / "pacs", "+xt") as port:
        results = store(peer(port, "STORESCP"), QUICK, outgoing(paths))
    assert all(result.accepted for result in results)
    arrived = _received(tmp_path / "pacs")
    for item in outgoing(paths):
        assert encoded_dataset(arrived[item.sop_instance_uid]) == encoded_dataset(item.path)


@needs("storescp")
def test_a_peer_of_implicit_vr_only_gets_the_same_content_re_encoded(tmp_path, series):
    with dcmtk.storescp(tmp_path / "pacs", "+xi") as port:
        results = store(peer(port, "STORESCP"), QUICK, outgoing(series))
    assert all(result.accepted for result in results)
    arrived = _received(tmp_path / "pacs")
    for item in outgoing(series):
        kept = dcmread(arrived[item.sop_instance_uid])
        assert kept.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert kept == dcmread(item.path)


@needs("storescp")
def test_an_instance_whose_transfer_syntax_is_refused_says_so_and_the_others_go(tmp_path):
    plain = write_series(tmp_path / "plain", 1, key="plain")
    compressed = write_series(tmp_path / "compressed", 1, transfer_syntax=JPEGLSLossless, key="compressed")
    with dcmtk.storescp(tmp_path / "pacs") as port:
        first, second = store(peer(port, "STORESCP"), QUICK, outgoing([*compressed, *plain]))
    assert not first.accepted
    assert first.status == "the peer does not accept MR Image Storage in JPEG-LS Lossless Image Compression"
    assert second.accepted


def test_with_nothing_in_common_every_instance_says_so(series):
    with scripted_peer([], SECONDARY_CAPTURE) as pacs:
        results = store(pacs, QUICK, outgoing(series))
    assert [result.accepted for result in results] == [False] * 4
    assert {result.status for result in results} == {
        "the peer does not accept MR Image Storage in Explicit VR Little Endian"
    }


@pytest.mark.parametrize(
    ("status", "text", "accepted"),
    [(0xA700, "0xA700", False), (0xC000, "0xC000", False), (0xB000, "0xB000", True), (0x0111, "0x0111", True)],
    ids=["out of resources", "cannot understand", "coerced", "has it already"],
)
def test_the_peers_status_is_passed_on(series, status, text, accepted):
    with scripted_peer([(evt.EVT_C_STORE, lambda _: status)], MRImageStorage) as pacs:
        results = store(pacs, QUICK, outgoing(series[:1]))
    assert [(result.status, result.accepted) for result in results] == [(text, accepted)]


def test_when_the_peer_aborts_mid_series_what_was_answered_stays_answered(series):
    arrived: list[str] = []

    def third_is_too_much(event: evt.Event) -> int:
        arrived.append(event.request.AffectedSOPInstanceUID)
        if len(arrived) == 3:
            event.assoc.abort()
        return 0x0000

    with scripted_peer([(evt.EVT_C_STORE, third_is_too_much)], MRImageStorage) as pacs:
        results = store(pacs, QUICK, outgoing(series))
    assert [result.status for result in results] == [
        "0x0000",
        "0x0000",
        "no answer: the association ended",
        "not sent: the association ended",
    ]
    assert [result.accepted for result in results] == [True, True, False, False]


def test_a_peer_that_aborts_at_once_is_unavailable(series):
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    with (
        scripted_peer([(evt.EVT_C_STORE, abort)], MRImageStorage) as pacs,
        pytest.raises(PeerUnavailable, match="ended before the first of 4 was answered"),
    ):
        store(pacs, QUICK, outgoing(series))


def test_a_peer_that_stops_answering_is_given_up_on(series):
    done = Event()

    def dawdle(_: evt.Event) -> int:
        done.wait(20)
        return 0x0000

    try:
        with scripted_peer([(evt.EVT_C_STORE, dawdle)], MRImageStorage) as pacs:
            started = time.monotonic()
            with pytest.raises(PeerUnavailable):
                store(pacs, replace(QUICK, dimse_timeout_s=1.0, association_timeout_s=1.0), outgoing(series))
            assert time.monotonic() - started < 5
            done.set()
    finally:
        done.set()


def test_a_peer_that_stops_within_its_answer_is_given_up_on(series):
    done = Event()

    def half_an_answer(event: evt.Event) -> int:
        event.assoc.dul.socket.socket.sendall(b"\x04\x00\x00\x00\x10\x00" + bytes(100))
        done.wait(20)
        return 0x0000

    try:
        with scripted_peer([(evt.EVT_C_STORE, half_an_answer)], MRImageStorage) as pacs:
            local = replace(QUICK, dimse_timeout_s=1.0, association_timeout_s=1.0, network_timeout_s=2.0)
            started = time.monotonic()
            with pytest.raises(PeerUnavailable):
                store(pacs, local, outgoing(series))
            assert time.monotonic() - started < 8
            done.set()
    finally:
        done.set()


def test_a_file_that_is_gone_is_no_fault_of_the_peers(listen, series):
    items = outgoing(series)
    series[1].unlink()
    inbox = Inbox()
    with pytest.raises(StorageUnavailable, match=r"002\.dcm cannot be read"):
        store(peer(listen(receive=inbox).port, "CSF24"), QUICK, items)
    assert inbox.instances == []


def test_a_long_series_goes_on_one_association_without_waiting_for_acknowledgements(listen, tmp_path):
    released: list[int] = []
    inbox = Inbox()
    port = listen(receive=inbox, on_released=lambda: released.append(1)).port
    items = outgoing(write_series(tmp_path / "long", 60, size=64))
    started = time.monotonic()
    results = store(peer(port, "CSF24"), QUICK, items)
    assert all(result.accepted for result in results)
    # With delayed acknowledgements (40 ms each way) it would be 20 a second at most.
    assert time.monotonic() - started < len(items) * 0.04
    assert len(inbox.instances) == len(items)
    wait_until(lambda: len(released) == 1)


def test_a_refused_connection_is_named():
    (port,) = free_ports()
    with pytest.raises(PeerUnavailable, match=rf"pacs \(PEER at 127.0.0.1:{port}\): connection refused"):
        echo(peer(port), QUICK)


def test_a_host_that_does_not_exist_is_named():
    with pytest.raises(PeerUnavailable, match="the host name cannot be resolved"):
        echo(peer(104, host="no-such-host.invalid"), QUICK)


def test_a_peer_that_connects_but_says_nothing_is_named(silent_port):
    started = time.monotonic()
    with pytest.raises(PeerUnavailable, match="connected, but no answer to the association request within 1 s"):
        echo(peer(silent_port), replace(QUICK, association_timeout_s=1.0))
    assert time.monotonic() - started < 5


def test_a_peer_that_hangs_up_is_named():
    with socket.create_server((LOOPBACK, 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        Thread(target=hang_up, daemon=True).start()
        with pytest.raises(PeerUnavailable, match=r"closed the connection without an answer; .* expect TLS\?"):
            echo(peer(server.getsockname()[1]), QUICK)


def test_the_ae_title_that_is_not_recognised_is_named(listen):
    port = listen(admit=accept_policy(["CSF24"], False, "PACS", lambda: True)).port
    echo(peer(port, "PACS"), QUICK)
    with pytest.raises(PeerUnavailable, match="does not recognise our AE title 'OTHER'"):
        echo(peer(port, "PACS"), replace(QUICK, ae_title="OTHER"))
    with pytest.raises(PeerUnavailable, match="does not recognise 'PACS2' as its AE title"):
        echo(peer(port, "PACS2"), QUICK)


def test_a_congested_peer_and_a_full_one_are_named(listen):
    congested = listen(admit=accept_policy([], True, None, lambda: False)).port
    with pytest.raises(PeerUnavailable, match="congested for now"):
        echo(peer(congested), QUICK)
    full = listen(max_associations=1).port
    held = associate(full, VERIFICATION)
    with pytest.raises(PeerUnavailable, match="as many associations as it allows"):
        echo(peer(full), QUICK)
    held.release()


def test_a_peer_that_does_not_offer_verification_is_named():
    with (
        scripted_peer([], MRImageStorage) as pacs,
        pytest.raises(PeerUnavailable, match="accepts none of the services that were proposed"),
    ):
        echo(pacs, QUICK)


def test_explicit_vr_is_what_is_sent_where_both_are_accepted(series):
    seen: list[str] = []

    def note(event: evt.Event) -> int:
        seen.append(event.context.transfer_syntax)
        return 0x0000

    with scripted_peer([(evt.EVT_C_STORE, note)], MRImageStorage) as pacs:
        store(pacs, QUICK, outgoing(series[:1]))
    assert seen == [ExplicitVRLittleEndian]
