"""DICOM over TLS with DCMTK on the other side, and with what goes wrong."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from service.errors import PeerUnavailable
from service.network import tls
from service.network.storage_scu import echo, store
from tests.builders import dcmtk
from tests.builders.network import LOOPBACK, QUICK, Inbox, encoded_dataset, make_certificates, outgoing, peer
from tests.builders.programs import needs, wait_until

pytestmark = [needs("openssl"), needs("echoscu")]


@pytest.fixture
def server_tls(certificates):
    return tls.server_context(
        certificate=certificates.server, key=certificates.server_key, trusted=certificates.authority
    )


@pytest.fixture
def client_tls(certificates):
    return tls.client_context(
        trusted=certificates.authority, certificate=certificates.client, key=certificates.client_key
    )


def _dcmtk_identity(certificates):
    return ("+tls", certificates.client_key, certificates.client, "+cf", certificates.authority)


def test_dcmtk_sends_over_tls(listen, server_tls, certificates, series):
    inbox = Inbox()
    outcome = dcmtk.storescu(listen(receive=inbox, tls=server_tls).port, series, *_dcmtk_identity(certificates))
    assert outcome.status == 0, outcome.text
    assert [item.encoded_dataset for item in inbox.instances] == [encoded_dataset(path) for path in series]


def test_a_silent_client_does_not_keep_others_out(listen, server_tls, certificates):
    port = listen(tls=server_tls, tls_handshake_timeout_s=1.0).port
    silent = [socket.create_connection((LOOPBACK, port)) for _ in range(3)]
    started = time.monotonic()
    assert dcmtk.echoscu(port, *_dcmtk_identity(certificates)).status == 0
    assert time.monotonic() - started < 1.0
    for connection in silent:  # and is disconnected in the end
        connection.settimeout(5)
        assert connection.recv(1) == b""
        connection.close()


def test_a_client_without_a_certificate_is_refused(listen, server_tls, certificates):
    port = listen(tls=server_tls).port
    assert dcmtk.echoscu(port, "+tla", "+cf", certificates.authority).status != 0
    assert dcmtk.echoscu(port).status != 0  # nor is plain DICOM understood
    assert dcmtk.echoscu(port, *_dcmtk_identity(certificates)).status == 0


def test_a_certificate_of_another_authority_is_refused(listen, server_tls, certificates, tmp_path):
    port = listen(tls=server_tls).port
    strangers = make_certificates(tmp_path)
    identity = ("+tls", strangers.client_key, strangers.client, "+cf", certificates.authority)
    assert dcmtk.echoscu(port, *identity).status != 0


def test_we_send_to_dcmtk_over_tls(certificates, client_tls, series, tmp_path):
    identity = ("+tls", certificates.server_key, certificates.server, "+cf", certificates.authority)
    with dcmtk.storescp(tmp_path / "pacs", *identity) as port:
        results = store(peer(port, "STORESCP", tls=client_tls), QUICK, outgoing(series))
    assert [result.status for result in results] == ["0x0000"] * 4
    assert len(list((tmp_path / "pacs").iterdir())) == len(series)


def test_a_peer_whose_certificate_is_not_trusted_is_named(listen, server_tls, tmp_path):
    strangers = make_certificates(tmp_path)
    trusting_others = tls.client_context(trusted=strangers.authority)
    with pytest.raises(PeerUnavailable, match="the peer's certificate is not accepted"):
        echo(peer(listen(tls=server_tls).port, tls=trusting_others), QUICK)


def test_a_port_without_tls_is_named(listen, client_tls):
    with pytest.raises(PeerUnavailable, match=r"TLS failed|no connection"):
        echo(peer(listen(association_timeout_s=1.0).port, tls=client_tls), QUICK)


def test_plain_dicom_to_a_tls_port_gets_a_hint(listen, server_tls):
    with pytest.raises(PeerUnavailable, match="expect TLS"):
        echo(peer(listen(tls=server_tls).port), QUICK)


def test_a_handshake_that_ends_after_the_listener_stopped_leads_to_nothing(listen, server_tls, client_tls):
    listener = listen(tls=server_tls, tls_handshake_timeout_s=30.0)
    with socket.create_connection((LOOPBACK, listener.port), timeout=5) as connection:
        wait_until(lambda: any("process_request_thread" in thread.name for thread in threading.enumerate()))
        started = time.monotonic()
        listener.stop()
        assert time.monotonic() - started < 3
        with client_tls.wrap_socket(connection, server_hostname=LOOPBACK) as late:
            assert late.recv(1) == b""
