"""Audit messages to a repository by syslog: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425)."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

_PRIORITY = 10 * 8 + 5  # facility security/authorisation, severity notice (PS3.15 A.6.2)
_MESSAGE_ID = "DICOM+RFC3881"  # PS3.15 A.6.2
_NOTHING = "-"
_BOM = b"\xef\xbb\xbf"  # RFC 5424 6.4: what follows is UTF-8
_LARGEST_DATAGRAM = 65_507
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogAddress:
    """Where messages go."""

    transport: Literal["udp", "tcp", "tls"]
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """HOSTNAME, APP-NAME and PROCID of RFC 5424."""

    host: str
    application: str
    process_id: str


def frame(message: str, at: datetime, sender: Sender) -> bytes:
    """A message of RFC 5424; without structured data, as PS3.15 A.6.2 asks."""
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = (
        f"<{_PRIORITY}>1 {stamp} {_token(sender.host, 255)} {_token(sender.application, 48)} "
        f"{_token(sender.process_id, 128)} {_MESSAGE_ID} {_NOTHING} "
    )
    return head.encode("ascii") + _BOM + message.encode("utf-8", "replace")


def _token(text: str, longest: int) -> str:
    kept = "".join(c for c in text if "!" <= c <= "~")[:longest]
    return kept or _NOTHING


class SyslogConnection:
    """Sends frames, and connects when there is need; for one thread.

    Parameters
    ----------
    tls
        For the transport ``tls``; the repository's certificate is verified with it.
    """

    def __init__(self, address: SyslogAddress, *, tls: ssl.SSLContext | None = None) -> None:
        if address.transport == "tls" and tls is None:
            raise ValueError("the transport tls needs a context")
        self._address = address
        self._tls = tls
        self._socket: socket.socket | None = None

    def send(self, frame: bytes) -> None:
        """Hand one frame to the network.

        Raises
        ------
        OSError
            There is no connection, or it broke; the next call makes a new one.
        """
        try:
            connection = self._connected()
            if self._address.transport == "udp":
                connection.send(frame)
            else:  # octet counting: RFC 5425 4.3, RFC 6587 3.4.1
                connection.sendall(str(len(frame)).encode() + b" " + frame)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def fits(self, frame: bytes) -> bool:
        """Whether the transport can carry it at all."""
        return self._address.transport != "udp" or len(frame) <= _LARGEST_DATAGRAM

    def _connected(self) -> socket.socket:
        if self._socket is not None and self._hung_up(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connect()
        return self._socket

    def _hung_up(self, connection: socket.socket) -> bool:
        """A repository says nothing; what can be read is the end, and what is sent after it would be lost."""
        if self._address.transport == "udp":
            return False
        connection.settimeout(0)
        try:
            return connection.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(_TIMEOUT_S)

    def _connect(self) -> socket.socket:
        address = self._address
        if address.transport == "udp":
            family, kind, protocol, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[
                0
            ]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.connect(target)
            return datagrams
        connection = socket.create_connection((address.host, address.port), _TIMEOUT_S)
        if address.transport == "tcp" or self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=address.host)
        except OSError:
            connection.close()
            raise
