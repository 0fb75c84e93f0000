"""A DICOM listener on which no single connection can hold up the others."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from threading import BoundedSemaphore, Thread
from typing import Any

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import ThreadedAssociationServer

from service.network.faults import where
from service.network.stack import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

TLS_HANDSHAKE_TIMEOUT_S = 10.0
"""A peer that has not finished its TLS handshake by then is disconnected."""
_MAX_HANDSHAKES = 64
"""Connections in their handshake at a time; more are closed at once, so that silent ones cannot pile up threads."""
_ABORT_WAIT_S = 2.0
"""For peers to close an association that was aborted because the listener stops."""
_log = structlog.get_logger()

Handler = tuple[Any, Callable[..., Any]] | tuple[Any, Callable[..., Any], list[Any]]
"""Event, function, further arguments of the function: as pynetdicom takes them."""


class Rejection(Enum):
    """Why an association request is refused: result, source and diagnostic of PS3.8 table 9-21."""

    CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
    CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
    TEMPORARY_CONGESTION = (2, 3, 1)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where and how to listen; times in seconds, PDU length in bytes. Port 0 takes a free one."""

    ae_title: str = "CSF24"
    host: str = "127.0.0.1"
    port: int = 11112
    max_associations: int = 10
    max_pdu: int = 131072
    association_timeout_s: float = 30.0
    dimse_timeout_s: float = 60.0
    network_timeout_s: float = 120.0
    tls_handshake_timeout_s: float = TLS_HANDSHAKE_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequest:
    """What is known of an association before it is accepted."""

    calling_ae: str
    called_ae: str
    calling_address: str


class _PatientServer(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom's types are not followed
    """Does the TLS handshake in the connection's own thread, with a time limit.

    The library does it in the accept loop without one, so one silent client stops all new associations.
    """

    daemon_threads = True
    handshake_timeout_s = TLS_HANDSHAKE_TIMEOUT_S
    closing = False
    """Set when the listener stops: handshakes that end later lead to nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed through to the library as they are
        self._handshakes = BoundedSemaphore(_MAX_HANDSHAKES)
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept, and nothing else."""
        accepted, address = self.socket.accept()
        # Small responses must not wait for the peer's delayed acknowledgement.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The library reads whole PDUs; without a limit a peer that stops within one keeps its place for good.
        accepted.settimeout(self.ae.network_timeout)
        return accepted, address

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """In a thread of the connection's own: the handshake, then the association."""
        if self.ssl_context is not None:
            wrapped = self._shake_hands(request, client_address)
            if wrapped is None:
                self.shutdown_request(request)
                return
            request = wrapped
        if self.closing:
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)

    def _shake_hands(self, request: socket.socket, client_address: tuple[str, int]) -> ssl.SSLSocket | None:
        if not self._handshakes.acquire(blocking=False):
            _log.warning("connection closed: too many unfinished TLS handshakes", address=client_address[0])
            return None
        try:
            request.settimeout(self.handshake_timeout_s)
            wrapped: ssl.SSLSocket = self.ssl_context.wrap_socket(request, server_side=True)
            wrapped.settimeout(self.ae.network_timeout)
        except OSError as fault:  # ssl.SSLError and TimeoutError are
            _log.warning("TLS handshake failed", address=client_address[0], fault=type(fault).__name__)
            return None
        else:
            return wrapped
        finally:
            self._handshakes.release()


class Listener:
    """An application entity that accepts associations, on threads of its own.

    Parameters
    ----------
    contexts
        What it offers.
    handlers
        Functions for pynetdicom's events.
    admit
        Called for each association request; a `Rejection` refuses it.
    on_rejected
        Told of refused requests.
    tls
        From `service.network.tls.server_context`; None speaks plain DICOM.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        contexts: Sequence[PresentationContext],
        handlers: Sequence[Handler],
        admit: Callable[[AssociationRequest], Rejection | None] = lambda _: None,
        on_rejected: Callable[[AssociationRequest, Rejection], None] = lambda _request, _why: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._contexts = list(contexts)
        self._handlers = [
            *handlers,
            (evt.EVT_REQUESTED, _screen, [admit, on_rejected]),
            (evt.EVT_REJECTED, _tell_of_limit, [on_rejected]),
            (evt.EVT_CONN_CLOSE, _free_place),
        ]
        self._tls = tls
        self._server: _PatientServer | None = None
        self._thread: Thread | None = None
        self._ae = AE(ae_title=settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_associations = settings.max_associations
        self._ae.maximum_pdu_size = settings.max_pdu
        self._ae.acse_timeout = settings.association_timeout_s
        self._ae.dimse_timeout = settings.dimse_timeout_s
        self._ae.network_timeout = settings.network_timeout_s

    @property
    def port(self) -> int:
        """The TCP port it listens on, also when settings said 0."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    @property
    def listening(self) -> bool:
        """Whether connections are accepted now."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Bind and accept; returns at once.

        Raises
        ------
        OSError
            The address cannot be bound, e.g. because another program has the port.
        """
        settings = self._settings
        address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][4]
        server = self._ae.make_server(
            address,
            contexts=self._contexts,
            ssl_context=self._tls,
            evt_handlers=self._handlers,
            server_class=_PatientServer,
        )
        server.handshake_timeout_s = settings.tls_handshake_timeout_s
        self._ae._servers.append(server)  # shutdown() of the server takes it out again
        self._server = server
        self._thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="listener")
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more, abort what is open: the peer was not told success for anything unfinished."""
        if self._server is None or self._thread is None:
            return
        self._server.closing = True
        self._server.shutdown()
        self._thread.join()
        _end(self._ae.active_associations)
        self._server = self._thread = None


def _end(open_associations: Sequence[Association]) -> None:
    """Abort all at once; cut the connections of peers that do not react."""
    for assoc in open_associations:
        # In a thread of its own, since it waits until the peer has closed the connection.
        Thread(target=assoc.abort, daemon=True, name="abort").start()
    give_up = time.monotonic() + _ABORT_WAIT_S
    for assoc in open_associations:
        assoc.join(max(0.0, give_up - time.monotonic()))
    for assoc in open_associations:
        if assoc.is_alive() and assoc.dul.socket is not None and assoc.dul.socket.socket is not None:
            with contextlib.suppress(OSError):  # it may have closed meanwhile
                assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            assoc.join(_ABORT_WAIT_S)


def request_of(assoc: Association) -> AssociationRequest:
    """Who asked, from the association request or the accepted association."""
    primitive = assoc.requestor.primitive
    return AssociationRequest(
        calling_ae=str(primitive.calling_ae_title).strip(),
        called_ae=str(primitive.called_ae_title).strip(),
        calling_address=str(assoc.requestor.address_info.address),
    )


def _free_place(event: evt.Event) -> None:
    """End the wait for a request that cannot come any more.

    A connection that closes before it asked for an association (a port probe does that) would otherwise keep its
    place among the allowed associations until the library's time limit.
    """
    if not event.assoc.is_established:
        event.assoc.dul.to_user_queue.put(None)


def _screen(
    event: evt.Event,
    admit: Callable[[AssociationRequest], Rejection | None],
    on_rejected: Callable[[AssociationRequest, Rejection], None],
) -> None:
    """Refuse before anything is negotiated; pynetdicom lets handlers of this event reject."""
    request = request_of(event.assoc)
    try:
        why = admit(request)
    except Exception as fault:  # noqa: BLE001 - the library would go on as if the request had been admitted
        _log.error("association request not judged", address=request.calling_address, fault=where(fault))
        why = Rejection.TEMPORARY_CONGESTION
    if why is None:
        return
    event.assoc.acse.send_reject(*why.value)
    _tell(request, why, on_rejected)
    event.assoc.kill()


def _tell_of_limit(event: evt.Event, on_rejected: Callable[[AssociationRequest, Rejection], None]) -> None:
    """The library itself refuses one thing only: associations beyond the maximum."""
    _tell(request_of(event.assoc), Rejection.LOCAL_LIMIT_EXCEEDED, on_rejected)


def _tell(
    request: AssociationRequest, why: Rejection, on_rejected: Callable[[AssociationRequest, Rejection], None]
) -> None:
    _log.warning(
        "association refused",
        calling_ae=request.calling_ae,
        called_ae=request.called_ae,
        address=request.calling_address,
        why=why.name,
    )
    on_rejected(request, why)
