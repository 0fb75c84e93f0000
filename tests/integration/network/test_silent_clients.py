"""Clients that connect and say nothing, or too little, or too slowly: the next sender does not notice them.

They call from 127.0.0.2, the sender from 127.0.0.1; the sender is DCMTK's.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from service.network.doorway import MOST_UNFINISHED, MOST_UNFINISHED_PER_ADDRESS
from service.network.requests import TurnedAway
from tests.builders import dcmtk
from tests.builders.network import LOOPBACK, Inbox, association_request, encoded_dataset
from tests.builders.programs import needs, wait_until

pytestmark = [needs("openssl"), needs("echoscu")]
AT_ONCE_S = 5.0
"""The others hold out for 30 s; the machine may be busy."""
_CLIENT_HELLO_BEGINS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def silent(port: int, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port), timeout=10, source_address=("127.0.0.2", 0))
    connection.sendall(said)
    return connection


@pytest.fixture
def listen_tls(listen, server_tls):
    return partial(listen, tls=server_tls)


@pytest.fixture
def stack():
    with ExitStack() as open_:
        yield open_


@pytest.mark.parametrize(
    "said",
    [b"", association_request()[:3], association_request()[:60], association_request()[:-1]],
    ids=["nothing", "half a header", "half a request", "all but a byte"],
)
def test_more_silent_clients_than_associations_do_not_keep_a_sender_out(listen, series, stack, said):
    inbox = Inbox()
    port = listen(receive=inbox, max_associations=2, association_timeout_s=30.0).port
    for _ in range(20):
        stack.enter_context(silent(port, said))
    started = time.monotonic()
    assert dcmtk.storescu(port, series).status == 0
    assert time.monotonic() - started < AT_ONCE_S
    assert [item.encoded_dataset for item in inbox.instances] == [encoded_dataset(path) for path in series]


@pytest.mark.parametrize("said", [b"", _CLIENT_HELLO_BEGINS], ids=["nothing", "half a ClientHello"])
def test_nor_do_clients_that_stall_in_the_tls_handshake(listen_tls, dcmtk_identity, series, stack, said):
    inbox = Inbox()
    port = listen_tls(receive=inbox, max_associations=2, tls_handshake_timeout_s=30.0).port
    for _ in range(20):
        stack.enter_context(silent(port, said))
    started = time.monotonic()
    assert dcmtk.storescu(port, series, *dcmtk_identity).status == 0
    assert time.monotonic() - started < AT_ONCE_S
    assert len(inbox.instances) == len(series)


def test_nor_do_clients_that_stall_behind_the_handshake(listen_tls, client_tls, dcmtk_identity, series, stack):
    port = listen_tls(max_associations=2, association_timeout_s=30.0).port
    for _ in range(5):
        encrypted = stack.enter_context(client_tls.wrap_socket(silent(port), server_hostname=LOOPBACK))
        encrypted.sendall(association_request()[:60])
    started = time.monotonic()
    assert dcmtk.storescu(port, series, *dcmtk_identity).status == 0
    assert time.monotonic() - started < AT_ONCE_S


def _drip(connection: socket.socket, content: bytes) -> float:
    """A byte every 50 ms; seconds until the other side had enough."""
    started = time.monotonic()
    for byte in content:
        try:
            connection.sendall(bytes([byte]))
        except OSError:
            break
        time.sleep(0.05)
    return time.monotonic() - started


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_a_request_that_comes_byte_by_byte_has_the_time_of_one_request(listen, server_tls, client_tls, encrypted):
    refused: list[object] = []
    tls = server_tls if encrypted else None
    port = listen(association_timeout_s=0.5, tls=tls, on_refused=lambda r: refused.append(r.why)).port
    connection = silent(port)
    if encrypted:
        connection = client_tls.wrap_socket(connection, server_hostname=LOOPBACK)
    with connection:
        assert _drip(connection, association_request()) < 3  # all of it would take 10 s
    assert refused == [TurnedAway.SILENT]


def test_a_handshake_that_comes_byte_by_byte_has_the_time_of_one_handshake(listen, server_tls, client_tls):
    refused: list[object] = []
    port = listen(tls=server_tls, tls_handshake_timeout_s=0.5, on_refused=lambda r: refused.append(r.why)).port
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_tls.wrap_bio(incoming, outgoing, server_hostname=LOOPBACK).do_handshake()
    hello = outgoing.read()
    assert len(hello) > 200
    with silent(port) as connection:
        assert _drip(connection, hello) < 3
    assert refused == [TurnedAway.HANDSHAKE_FAILED]


def test_a_message_that_comes_byte_by_byte_has_the_time_of_one_pdu(listen):
    listener = listen(network_timeout_s=0.5)
    with silent(listener.port, association_request()) as connection:
        assert connection.recv(1) == b"\x02"  # accepted
        assert _drip(connection, b"\x04\x00\x00\x00\x10\x00" + bytes(200)) < 3
    wait_until(lambda: listener.associations == 0)


def _hung_up_on(connection: socket.socket) -> bool:
    connection.settimeout(0.5)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_one_address_cannot_pile_up_connections_without_end(listen, stack):
    refused: list[object] = []
    port = listen(association_timeout_s=30.0, on_refused=lambda r: refused.append((r.why, r.address))).port
    for _ in range(MOST_UNFINISHED_PER_ADDRESS):
        stack.enter_context(silent(port))
    wait_until(lambda: _hung_up_on(stack.enter_context(silent(port))))
    assert set(refused) == {(TurnedAway.TOO_MANY_UNFINISHED, "127.0.0.2")}
    assert MOST_UNFINISHED > 2 * MOST_UNFINISHED_PER_ADDRESS
    assert dcmtk.echoscu(port).status == 0


def test_places_of_silent_clients_are_free_once_they_are_gone(listen, stack):
    port = listen(association_timeout_s=30.0).port
    lasting = [silent(port) for _ in range(MOST_UNFINISHED_PER_ADDRESS)]
    for connection in lasting:
        connection.close()

    def served() -> bool:
        with silent(port, association_request()) as connection:
            return connection.recv(1) == b"\x02"

    wait_until(_quietly(served))


def _quietly(asked: Callable[[], bool]) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return asked()
        except OSError:
            return False

    return ask


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 1),
        (b"\x04\x00\x00\x00\x00\x04abcd", 2),
        (b"\x01\x00\xff\xff\xff\xff", 6),
        (b"\x01\x00\x00\x00\x00\x02\x00\x01", 6),
        (association_request(calling="BAD\x1b[31mTITLE"), 6),
    ],
    ids=["HTTP", "P-DATA first", "4 GiB long", "too short", "control characters in a title"],
)
def test_what_is_no_request_is_answered_with_an_abort_that_says_why(listen, sent, reason):
    port = listen().port
    with silent(port, sent) as connection:
        assert connection.recv(10) == bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, reason))
        assert connection.recv(1) == b""
    assert dcmtk.echoscu(port).status == 0
