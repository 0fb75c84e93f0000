"""A DICOM listener on which no single connection can hold up the others."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, cast

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from service.network.bounded_socket import BoundedSocket
from service.network.doorway import LONGEST_REQUEST, Doorway, Knock, judged
from service.network.faults import where
from service.network.guarded_threads import guard_threads
from service.network.places import Place, Places
from service.network.requests import AssociationRequest, Excess, OnRefused, Refusal, Rejection
from service.network.stack import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

TLS_HANDSHAKE_TIMEOUT_S = 10.0
"""A peer that has not finished its TLS handshake by then is disconnected."""
_UNLIMITED = 1 << 30  # for the library, which counts otherwise than we do
_ABORT_WAIT_S = 2.0
"""For peers to close an association that was aborted because the listener stops."""
_log = structlog.get_logger()

Handler = tuple[Any, Callable[..., Any]] | tuple[Any, Callable[..., Any], list[Any]]
"""Event, function, further arguments of the function: as pynetdicom takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where and how to listen; times in seconds, PDU length in bytes. Port 0 takes a free one."""

    ae_title: str = "CSF24"
    host: str = "127.0.0.1"
    port: int = 11112
    max_associations: int = 10
    max_associations_per_address: int = 8
    max_pdu: int = 131072
    association_timeout_s: float = 30.0
    dimse_timeout_s: float = 60.0
    network_timeout_s: float = 120.0
    tls_handshake_timeout_s: float = TLS_HANDSHAKE_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """An admitted request on its way to the library."""

    knock: Knock
    place: Place


class _PatientServer(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom's types are not followed
    """Does everything that a peer can draw out in the connection's own thread, with a time limit.

    The library does the TLS handshake in the accept loop without one, so one silent client stops all new associations.
    """

    daemon_threads = True
    request_queue_size = 128
    doorway: Doorway
    places: Places
    admit: Callable[[AssociationRequest], Rejection | None]
    on_refused: OnRefused
    numbers = itertools.count(1)
    closing = False
    """Set when the listener stops: handshakes that end later lead to nothing."""

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept, and nothing else."""
        accepted, address = self.socket.accept()
        # Small responses must not wait for the peer's delayed acknowledgement.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return accepted, address

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """Hand the connection to a thread of its own, unless too many wait there already."""
        if not self.doorway.enter(client_address[0]):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """In a thread of the connection's own: handshake, request, judgement; then it is an association."""
        visit: _Visit | None = None
        address = client_address[0]
        connection = request
        try:
            connection = self.doorway.shake_hands(request, address) or request
            if connection is not request or self.ssl_context is None:
                visit = self._receive(connection, address)
        except Exception as fault:  # noqa: BLE001 - the connection has to be closed all the same
            _log.error("a connection failed", address=address, fault=where(fault))
        finally:
            self.doorway.leave(address)
        if visit is None:
            self.shutdown_request(connection)
            return
        try:
            self.finish_request(visit, client_address)
        except Exception as fault:  # noqa: BLE001 - as above
            visit.place.leave()
            _log.error("an association failed", address=address, fault=where(fault))
            self.shutdown_request(connection)

    def _receive(self, connection: socket.socket, address: str) -> _Visit | None:
        """The request, once it is admitted and has a place."""
        knock = None if self.closing else self.doorway.read_request(connection, address)
        if knock is None or self.closing:
            return None
        why = judged(self.admit, knock.request)
        place = self.places.take(address) if why is None else why
        if isinstance(place, Rejection):
            self.doorway.reject(knock, place)
            return None
        return _Visit(knock=knock, place=place)


class _Entrance(RequestHandler):  # type: ignore[misc]  # as above
    """Makes the library's association of a request that has been read already."""

    request: Any

    def handle(self) -> None:
        """Start the association."""
        visit = cast(_Visit, self.request)
        self.request = visit.knock.connection
        assoc = self._create_association()
        assoc.dul.event_queue.get_nowait()  # the connection's indication; the socket below makes it again
        assoc.dul.socket = BoundedSocket(
            assoc,
            visit.knock.connection,
            visit.knock.pdu,
            longest_pdu=max(self.ae.maximum_pdu_size, LONGEST_REQUEST),
            pdu_timeout_s=self.ae.network_timeout,
            on_too_long=lambda: self._refuse(visit.knock.request, Excess.PDU_TOO_LONG),
        )
        assoc.name = f"{assoc.name}-{next(self.server.numbers)}"  # the library's are the same within a second
        guard_threads(assoc, visit.knock.request, partial(self._refuse, visit.knock.request))
        evt.trigger(assoc, evt.EVT_CONN_OPEN, {"address": self.client_address})
        assoc.start()
        visit.place.hold(assoc)

    def _refuse(self, request: AssociationRequest, why: Excess) -> None:
        _log.warning("association ended", calling_ae=request.calling_ae, address=request.calling_address, why=why.name)
        self.server.on_refused(
            Refusal(
                why=why, address=request.calling_address, calling_ae=request.calling_ae, called_ae=request.called_ae
            )
        )


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
    on_refused
        Told of connections that led to nothing, refused requests, and associations that broke a limit.
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
        on_refused: OnRefused = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._contexts = list(contexts)
        self._handlers = list(handlers)
        self._admit = admit
        self._on_refused = on_refused
        self._tls = tls
        self._places = Places(in_all=settings.max_associations, per_address=settings.max_associations_per_address)
        self._server: _PatientServer | None = None
        self._thread: Thread | None = None
        self._ae = AE(ae_title=settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_associations = _UNLIMITED
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

    @property
    def associations(self) -> int:
        """How many are open."""
        return self._places.taken

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
            request_handler=_Entrance,
        )
        server.doorway = Doorway(
            tls=self._tls,
            handshake_timeout_s=settings.tls_handshake_timeout_s,
            request_timeout_s=settings.association_timeout_s,
            on_refused=self._on_refused,
        )
        server.places, server.admit, server.on_refused = self._places, self._admit, self._on_refused
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
