"""From a TCP connection to an association request, within a time and in bounded numbers, before the library sees it.

The library counts a connection among the associations, and gives it two threads, before anything was said on it: as
many idle sockets as there may be associations keep everybody out. Here a connection becomes an association only once
its whole request has been read and admitted; refusals are answered here too.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import structlog

from service.network.faults import where
from service.network.requests import (
    HEADER_LENGTH,
    AssociationRequest,
    OnRefused,
    Refusal,
    Rejection,
    TurnedAway,
    parse_request,
)
from service.network.wire import (
    ABORT,
    ASSOCIATE_RQ,
    INVALID_PARAMETER_VALUE,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    abort_pdu,
    receive_exactly,
    say_last,
)

MOST_UNFINISHED = 128
"""Connections at a time that have not asked for an association yet; each has a thread, and holds no association."""
MOST_UNFINISHED_PER_ADDRESS = 32
LONGEST_REQUEST = 256 * 1024
"""Bytes of an A-ASSOCIATE-RQ: 128 presentation contexts with every transfer syntax there is take some 200 kB."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A connection with a whole association request, as read from it."""

    connection: socket.socket
    pdu: bytes
    request: AssociationRequest


class Doorway:
    """Reads requests from new connections; any number of threads may call it.

    Parameters
    ----------
    handshake_timeout_s, request_timeout_s
        For the whole TLS handshake, and then for the whole request, however it trickles in.
    on_refused
        Told of connections that led to nothing. Those that closed without a word, as port probes do, do not count.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
        request_timeout_s: float,
        on_refused: OnRefused,
    ) -> None:
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._request_timeout_s = request_timeout_s
        self._on_refused = on_refused
        self._unfinished: Counter[str] = Counter()
        self._lock = Lock()

    def enter(self, address: str) -> bool:
        """Take one of the places for unfinished connections; False when there is none, for this address or at all."""
        with self._lock:
            free = self._unfinished.total() < MOST_UNFINISHED
            if free and self._unfinished[address] < MOST_UNFINISHED_PER_ADDRESS:
                self._unfinished[address] += 1
                return True
        self.turn_away(TurnedAway.TOO_MANY_UNFINISHED, address)
        return False

    def leave(self, address: str) -> None:
        """Give the place back."""
        with self._lock:
            self._unfinished[address] -= 1
            if not self._unfinished[address]:
                del self._unfinished[address]

    def shake_hands(self, connection: socket.socket, address: str) -> socket.socket | None:
        """The connection to go on with, encrypted where TLS is spoken; None when it failed."""
        if self._tls is None:
            return connection
        connection.settimeout(self._handshake_timeout_s)  # of the handshake as a whole
        try:
            return self._tls.wrap_socket(connection, server_side=True)
        except OSError as fault:  # ssl.SSLError and TimeoutError are
            reason = getattr(fault, "reason", None) or type(fault).__name__
            self.turn_away(TurnedAway.HANDSHAKE_FAILED, address, fault=reason)
            return None

    def read_request(self, connection: socket.socket, address: str) -> Knock | None:
        """The first PDU of a connection; None when none came, or it is no association request.

        What is no request is answered with A-ABORT (PS3.8 9.2.3, state 2: AA-1); silence with closing (AA-2).
        """
        deadline = time.monotonic() + self._request_timeout_s
        try:
            head = receive_exactly(connection, HEADER_LENGTH, deadline)
            if not head:
                return None
            kind, length = head[0], int.from_bytes(head[2:6], "big")
            if kind != ASSOCIATE_RQ:
                known = ASSOCIATE_RQ < kind <= ABORT
                say_last(connection, abort_pdu(UNEXPECTED_PDU if known else UNRECOGNISED_PDU))
                self.turn_away(TurnedAway.NOT_DICOM, address)
                return None
            if length > LONGEST_REQUEST:
                say_last(connection, abort_pdu(INVALID_PARAMETER_VALUE))
                self.turn_away(TurnedAway.REQUEST_TOO_LONG, address, length=length)
                return None
            pdu = bytes(head + receive_exactly(connection, length, deadline))
        except OSError:
            self.turn_away(TurnedAway.SILENT, address)
            return None
        request = parse_request(pdu, address) if len(pdu) == HEADER_LENGTH + length else None
        if request is None:
            say_last(connection, abort_pdu(INVALID_PARAMETER_VALUE))
            self.turn_away(TurnedAway.NOT_DICOM, address)
            return None
        return Knock(connection=connection, pdu=pdu, request=request)

    def turn_away(self, why: TurnedAway, address: str, **facts: object) -> None:
        """Log and tell."""
        _log.warning("connection closed", address=address, why=why.name, **facts)
        _tell(self._on_refused, Refusal(why=why, address=address))

    def reject(self, knock: Knock, why: Rejection) -> None:
        """Answer with A-ASSOCIATE-RJ, log and tell."""
        say_last(knock.connection, bytes((3, 0, 0, 0, 0, 4, 0, *why.answer)))
        request = knock.request
        _log.warning(
            "association refused",
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            address=request.calling_address,
            why=why.name,
        )
        refusal = Refusal(
            why=why, address=request.calling_address, calling_ae=request.calling_ae, called_ae=request.called_ae
        )
        _tell(self._on_refused, refusal)


def judged(admit: Callable[[AssociationRequest], Rejection | None], request: AssociationRequest) -> Rejection | None:
    """What `admit` says; a request that it cannot judge is refused."""
    try:
        return admit(request)
    except Exception as fault:  # noqa: BLE001 - whatever fails, nobody gets in by it
        _log.error("association request not judged", address=request.calling_address, fault=where(fault))
        return Rejection.TEMPORARY_CONGESTION


def _tell(on_refused: OnRefused, refusal: Refusal) -> None:
    try:
        on_refused(refusal)
    except Exception as fault:  # noqa: BLE001 - the connection has to be closed all the same
        _log.error("a refusal was not noted", fault=where(fault))
