"""The library's side of a connection, made to keep time and measure: PDUs have a longest length and a deadline."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from service.network.requests import HEADER_LENGTH

_CHUNK = 1 << 16
PROVIDER = 2  # source of an A-ABORT, PS3.8 table 9-26
UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER_VALUE = 1, 2, 6


def abort_pdu(reason: int) -> bytes:
    """A-ABORT of the service provider (PS3.8 9.3.8)."""
    return bytes((7, 0, 0, 0, 0, 4, 0, 0, PROVIDER, reason))


def receive_exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
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
        chunk = connection.recv(min(_CHUNK, count - len(received)))
        if not chunk:
            break
        received += chunk
    return bytes(received)


class BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom's types are not followed
    """Stands in for the library's socket on connections that we accept.

    Without it a PDU may announce 4 GiB, all of which would be kept in memory, and may take for ever to come.

    Parameters
    ----------
    ahead
        Bytes that were read from the connection already.
    longest_pdu
        Bytes behind the header; a longer one is answered with A-ABORT, invalid PDU parameter value.
    pdu_timeout_s
        For one PDU to come whole.
    on_too_long
        Told before such an abort.
    """

    def __init__(
        self,
        assoc: Association,
        connection: socket.socket,
        ahead: bytes,
        *,
        longest_pdu: int,
        pdu_timeout_s: float,
        on_too_long: Callable[[], None],
    ) -> None:
        super().__init__(assoc, client_socket=connection)
        self._ahead = ahead
        self._longest_pdu = longest_pdu
        self._pdu_timeout_s = pdu_timeout_s
        self._on_too_long = on_too_long
        self._deadline = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return (bool(self._ahead) and self.socket is not None) or bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """As the library calls it: first for the header of a PDU, then for all that the header announces."""
        if nr_bytes == HEADER_LENGTH:  # a body of 6 bytes gains a second wait, and nothing else
            self._deadline = time.monotonic() + self._pdu_timeout_s
        elif nr_bytes > self._longest_pdu:
            self._on_too_long()
            with contextlib.suppress(OSError):
                self.socket.sendall(abort_pdu(INVALID_PARAMETER_VALUE))
            raise ConnectionAbortedError("the PDU is longer than negotiated")
        first, self._ahead = self._ahead[:nr_bytes], self._ahead[nr_bytes:]
        rest = receive_exactly(self.socket, nr_bytes - len(first), self._deadline)
        self.socket.settimeout(self._pdu_timeout_s)  # for sending
        return bytearray(first + rest)

    def close_for_good(self) -> None:
        """Whatever the library thinks of the connection."""
        if self.socket is None:
            return
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.socket.close()

    def _shutdown_socket(self) -> None:
        """The library's leaves the descriptor open where the peer closed first."""
        self.close_for_good()
