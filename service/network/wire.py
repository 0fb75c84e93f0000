"""Protocol data units on a connection, kept to a length and a time (PS3.8 9.3); plain TCP and TLS alike."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass

from service.network.requests import HEADER_LENGTH

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""PDU types."""
USER, PROVIDER = 0, 2  # sources of an A-ABORT, PS3.8 table 9-26
UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER_VALUE = 1, 2, 6
RELEASE_RESPONSE = bytes((RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))
LINGER_S = 2.0
"""For a peer that was told the end to hang up by itself."""
_SEND_S = 5.0
_CHUNK = 1 << 20


class PduTooLong(Exception):
    """A PDU announces more than was negotiated."""


class CutShort(Exception):
    """The peer closed the connection within a PDU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdu:
    """Type, and what follows the length."""

    kind: int
    body: memoryview


def abort_pdu(reason: int, source: int = PROVIDER) -> bytes:
    """A-ABORT (PS3.8 9.3.8)."""
    return bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason))


def receive_exactly(connection: socket.socket, count: int, deadline: float) -> bytearray:
    """`count` bytes, or fewer when the peer closed before.

    Parameters
    ----------
    deadline
        On `time.monotonic`. A peer that sends byte by byte gains nothing by it.

    Raises
    ------
    TimeoutError
        Not all came in time.
    OSError
        The connection broke.
    """
    received = bytearray()
    while len(received) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        # Memory is taken as bytes come: a length is only a claim.
        chunk = connection.recv(min(_CHUNK, count - len(received)))
        if not chunk:
            break
        received += chunk
        _acknowledge_at_once(connection)
    return received


def read_pdu(connection: socket.socket, *, longest: int, timeout_s: float) -> Pdu | None:
    """The next PDU; None when the peer has closed the connection.

    Parameters
    ----------
    longest
        Bytes behind the header.
    timeout_s
        For its header to come, and then for the rest.

    Raises
    ------
    PduTooLong
        Nothing behind the header was read.
    CutShort, TimeoutError, OSError
        It did not come whole.
    """
    head = receive_exactly(connection, HEADER_LENGTH, time.monotonic() + timeout_s)
    if not head:
        return None
    length = int.from_bytes(head[2:], "big")
    if len(head) == HEADER_LENGTH and length > longest:
        raise PduTooLong
    body = receive_exactly(connection, length, time.monotonic() + timeout_s)
    if len(head) + len(body) < HEADER_LENGTH + length:
        raise CutShort
    return Pdu(kind=head[0], body=memoryview(body))


def send(connection: socket.socket, data: bytes, timeout_s: float) -> None:
    """All of it.

    Raises
    ------
    TimeoutError, OSError
        The peer does not read, or has gone.
    """
    connection.settimeout(timeout_s)
    connection.sendall(data)


def say_last(connection: socket.socket, pdu: bytes) -> None:
    """Send a last word; the peer may read it in peace before the connection closes."""
    with contextlib.suppress(OSError):
        send(connection, pdu, _SEND_S)
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(LINGER_S)
            connection.unwrap()  # says that it closes, and waits for the peer to say so
            return
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER_S
        while time.monotonic() < deadline:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            if not connection.recv(4096):
                break


def stop_reading(connection: socket.socket) -> None:
    """Wake whoever waits for the peer, as if it had closed; what is to be said may still be said."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RD)  # the method of TLS sockets would drop the encryption


def cut(connection: socket.socket) -> None:
    """End it for both directions, at once."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Linux delays acknowledgements again after every receive.

    DCMTK's senders, and scanners built on it, send a request in several packets and hold each until the one before is
    acknowledged: without this they manage 20 instances a second, unless TCP_NODELAY is set in their environment.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
