"""A DICOM listener on which no single connection can hold up the others."""

from __future__ import annotations

import itertools
import socket
import socketserver
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread, current_thread

import structlog
from pynetdicom.presentation import PresentationContext

from service.network import wire
from service.network.conversation import Conversation, Services, Terms
from service.network.doorway import LONGEST_REQUEST, Doorway, Knock, judged
from service.network.faults import where
from service.network.negotiation import Negotiated, negotiate
from service.network.places import Places
from service.network.requests import AssociationRequest, Excess, OnRefused, Refusal, Rejection, TurnedAway

TLS_HANDSHAKE_TIMEOUT_S = 10.0
"""A peer that has not finished its TLS handshake by then is disconnected."""
_ABORT_WAIT_S = 2.0
"""For peers to close an association that was aborted because the listener stops."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where and how to listen; times in seconds, lengths in bytes. Port 0 takes a free one.

    Attributes
    ----------
    largest_dataset
        What is kept of one message; 0 sets no limit.
    network_timeout_s
        For a PDU to come, and for an answer to be taken.
    """

    ae_title: str = "CSF24"
    host: str = "127.0.0.1"
    port: int = 11112
    max_associations: int = 10
    max_associations_per_address: int = 8
    max_pdu: int = 131072
    largest_dataset: int = 0
    association_timeout_s: float = 30.0
    network_timeout_s: float = 120.0
    tls_handshake_timeout_s: float = TLS_HANDSHAKE_TIMEOUT_S


class _Server(socketserver.TCPServer):
    """Accepts, and hands each connection to a thread of its own."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, take: Callable[[socket.socket, str], None]) -> None:
        self.address_family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._take = take
        super().__init__((host, port), socketserver.BaseRequestHandler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept, and nothing else."""
        accepted, address = self.socket.accept()
        # Small responses must not wait for the peer's delayed acknowledgement.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return accepted, address

    def process_request(self, request: object, client_address: tuple[str, int]) -> None:
        """To whoever takes connections."""
        assert isinstance(request, socket.socket)
        self._take(request, client_address[0])


class Listener:
    """An application entity that accepts associations, each on a thread of its own.

    Parameters
    ----------
    contexts
        What it offers.
    services
        What serves which request.
    admit
        Called for each association request; a `Rejection` refuses it.
    on_refused
        Told of connections that led to nothing, refused requests, and associations that broke a limit.
    on_ended
        Told which association has ended, as `Request.association` names it, however it ended.
    tls
        From `service.network.tls.server_context`; None speaks plain DICOM.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        contexts: Sequence[PresentationContext],
        services: Services,
        admit: Callable[[AssociationRequest], Rejection | None] = lambda _: None,
        on_refused: OnRefused = lambda _: None,
        on_ended: Callable[[str], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._contexts = list(contexts)
        self._terms = Terms(
            services=services,
            longest_pdu=max(settings.max_pdu, LONGEST_REQUEST),
            largest_dataset=settings.largest_dataset,
            timeout_s=settings.network_timeout_s,
        )
        self._admit = admit
        self._on_refused = on_refused
        self._on_ended = on_ended
        self._places = Places(in_all=settings.max_associations, per_address=settings.max_associations_per_address)
        self._doorway = Doorway(
            tls=tls,
            handshake_timeout_s=settings.tls_handshake_timeout_s,
            request_timeout_s=settings.association_timeout_s,
            on_refused=on_refused,
        )
        self._names = (f"association-{number}" for number in itertools.count(1))
        self._lock = Lock()
        self._open: dict[Conversation, Thread] = {}
        self._closing = False
        self._server: _Server | None = None
        self._thread: Thread | None = None

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
        self._server = _Server(self._settings.host, self._settings.port, self._take)
        self._closing = False
        self._thread = Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="listener"
        )
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more, abort what is open: the peer was not told success for anything unfinished."""
        if self._server is None or self._thread is None:
            return
        with self._lock:
            self._closing = True
            still_open = dict(self._open)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for conversation in still_open:
            conversation.end()
        _await(still_open.values())
        for conversation in still_open:
            conversation.cut()  # of a peer that does not react, or that waits for something which takes its time
        _await(still_open.values())
        self._server = self._thread = None

    def _take(self, connection: socket.socket, address: str) -> None:
        """Give the connection a thread of its own, unless too many wait already to become associations."""
        if not self._doorway.enter(address):
            connection.close()
            return
        Thread(target=self._attend, args=(connection, address), daemon=True, name="connection").start()

    def _attend(self, accepted: socket.socket, address: str) -> None:
        """Handshake, request, judgement; then it is an association, until the end."""
        connection = accepted
        try:
            try:
                encrypted = self._doorway.shake_hands(accepted, address)
                knock = None
                if encrypted is not None and not self._closing:
                    connection = encrypted
                    knock = self._doorway.read_request(connection, address)
            finally:
                self._doorway.leave(address)
            if knock is not None and not self._closing:
                self._associate(knock)
        except Exception as fault:  # noqa: BLE001 - the connection has to be closed all the same
            _log.error("a connection failed", address=address, fault=where(fault))
        finally:
            wire.cut(connection)
            connection.close()

    def _associate(self, knock: Knock) -> None:
        why = judged(self._admit, knock.request) or self._places.take(knock.request.calling_address)
        if why is not None:
            self._doorway.reject(knock, why)
            return
        try:
            negotiated = self._negotiated(knock)
            if negotiated is not None:
                self._hold(knock, negotiated)
        finally:
            self._places.leave(knock.request.calling_address)

    def _negotiated(self, knock: Knock) -> Negotiated | None:
        try:
            return negotiate(knock.pdu, self._contexts, longest_pdu=self._settings.max_pdu)
        except Exception as fault:  # noqa: BLE001 - no closed set of exceptions; their text quotes what was sent
            self._doorway.turn_away(TurnedAway.NOT_DICOM, knock.request.calling_address, fault=where(fault))
            wire.say_last(knock.connection, wire.abort_pdu(wire.INVALID_PARAMETER_VALUE))
            return None

    def _hold(self, knock: Knock, negotiated: Negotiated) -> None:
        name = next(self._names)
        conversation = Conversation(
            knock.connection,
            negotiated,
            self._terms,
            caller=knock.request,
            association=name,
            on_excess=lambda why: self._refuse(knock.request, why),
        )
        with self._lock:
            if self._closing:
                return
            self._open[conversation] = current_thread()
        try:
            conversation.hold()
        finally:
            self._tell_ended(name)
            with self._lock:
                del self._open[conversation]

    def _tell_ended(self, name: str) -> None:
        try:
            self._on_ended(name)
        except Exception as fault:  # noqa: BLE001 - the place has to be free all the same
            _log.error("the end of an association was not dealt with", fault=where(fault))

    def _refuse(self, request: AssociationRequest, why: Excess) -> None:
        _log.warning("association ended", calling_ae=request.calling_ae, address=request.calling_address, why=why.name)
        self._on_refused(
            Refusal(
                why=why, address=request.calling_address, calling_ae=request.calling_ae, called_ae=request.called_ae
            )
        )


def _await(threads: Iterable[Thread]) -> None:
    give_up = time.monotonic() + _ABORT_WAIT_S
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
