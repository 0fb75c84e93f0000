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


def test_dcmtk_sends_over_tls(listen, server_tls, dcmtk_identity, series):
    inbox = Inbox()
    outcome = dcmtk.storescu(listen(receive=inbox, tls=server_tls).port, series, *dcmtk_identity)
    assert outcome.status == 0, outcome.text
    assert [item.encoded_dataset for item in inbox.instances] == [encoded_dataset(path) for path in series]


def test_a_silent_client_does_not_keep_others_out(listen, server_tls, dcmtk_identity):
    port = listen(tls=server_tls, tls_handshake_timeout_s=1.0).port
    silent = [socket.create_connection((LOOPBACK, port)) for _ in range(3)]
    started = time.monotonic()
    assert dcmtk.echoscu(port, *dcmtk_identity).status == 0
    assert time.monotonic() - started < 1.0
    for connection in silent:  # and is disconnected in the end
        connection.settimeout(5)
        assert connection.recv(1) == b""
        connection.close()


def test_a_client_without_a_certificate_is_refused(listen, server_tls, certificates, dcmtk_identity):
    port = listen(tls=server_tls).port
    assert dcmtk.echoscu(port, "+tla", "+cf", certificates.authority).status != 0
    assert dcmtk.echoscu(port).status != 0  # nor is plain DICOM understood
    assert dcmtk.echoscu(port, *dcmtk_identity).status == 0


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
        wait_until(lambda: any(thread.name == "connection" for thread in threading.enumerate()))
        started = time.monotonic()
        listener.stop()
        assert time.monotonic() - started < 3
        with client_tls.wrap_socket(connection, server_hostname=LOOPBACK) as late:
            assert late.recv(1) == b""


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"], ids=["non-downgrading", "BCP 195", "extended"])
def test_dcmtk_is_understood_in_each_of_its_bcp_195_profiles(listen, server_tls, dcmtk_identity, profile):
    outcome = dcmtk.echoscu(listen(tls=server_tls).port, profile, *dcmtk_identity)
    assert outcome.status == 0, outcome.text


def _s_client(port, certificates, *options, with_identity=True):
    """What openssl's client says of a connection."""
    identity = ("-cert", certificates.client, "-key", certificates.client_key) if with_identity else ()
    return dcmtk.run(
        "openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-CAfile", certificates.authority, *identity, *options
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-tls1_3",), "TLSv1.3"),
        (("-tls1_2",), "ECDHE-RSA-AES256-GCM-SHA384"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "ECDHE-RSA-AES128-GCM-SHA256"),
    ],
    ids=["1.3", "1.2", "the suite that the standard demands"],
)
def test_tls_of_bcp_195_is_negotiated(listen, server_tls, certificates, options, said):
    outcome = _s_client(listen(tls=server_tls).port, certificates, *options)
    assert said in outcome.text
    assert "Verify return code: 0 (ok)" in outcome.text


_WEAK = ("-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1_1", *_WEAK),
        ("-tls1", *_WEAK),
        ("-tls1_2", "-cipher", "AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"),
        ("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ADH:AECDH:@SECLEVEL=0"),
    ],
    ids=["TLS 1.1", "TLS 1.0", "no forward secrecy", "no authenticated encryption", "finite fields", "anonymous"],
)
def test_nobody_can_talk_the_listener_down(listen, server_tls, certificates, options):
    text = _s_client(listen(tls=server_tls).port, certificates, *options).text
    assert "Cipher is (NONE)" in text or "Cipher    : 0000" in text
    assert "alert" in text  # it was the listener that refused


def test_version_1_3_can_be_demanded(listen, certificates):
    strict = tls.server_context(
        certificate=certificates.server,
        key=certificates.server_key,
        trusted=certificates.authority,
        minimum_version="1.3",
    )
    port = listen(tls=strict).port
    assert "protocol version" in _s_client(port, certificates, "-tls1_2").text
    assert "TLSv1.3" in _s_client(port, certificates, "-tls1_3").text
