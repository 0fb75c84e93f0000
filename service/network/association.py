"""Associations that we request, and in words why one did not come about."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from service.errors import PeerUnavailable
from service.network.checkpoint import guard
from service.network.peers import LocalEntity, Peer
from service.network.stack import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

Handler = tuple[Any, Callable[..., Any]]
"""Event and function, as pynetdicom takes them."""


class NothingInCommon(PeerUnavailable):
    """The peer answers, but accepts none of the proposed presentation contexts."""


@contextmanager
def association(
    peer: Peer,
    local: LocalEntity,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[Handler] = (),
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """An association with `peer`, released at the end, or aborted when the block raises.

    Parameters
    ----------
    roles
        Proposed where ours is not the requestor's usual one (PS3.7 D.3.3.4).

    Raises
    ------
    PeerUnavailable
        In words an administrator can act on: the connection was refused, an AE title is not recognised and which
        one, no answer within the time allowed, TLS failed, nothing in common.
    """
    watch = _Watch(local.network_timeout_s)
    assoc = _request(peer, local, contexts, [*handlers, *watch.handlers()], roles)
    if not assoc.is_established:
        raise _fault(assoc, peer, local, watch)
    try:
        yield assoc
    except BaseException:
        assoc.abort()
        raise
    assoc.release()  # does nothing when the association has ended already


class _Watch:
    """Prepares the connection, and notes how far the request came."""

    def __init__(self, network_timeout_s: float) -> None:
        self._network_timeout_s = network_timeout_s
        self.connected = False
        self.ended: type[object] | None = None

    def handlers(self) -> list[Handler]:
        return [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_DATA_RECV, _acknowledge_at_once),
            (evt.EVT_ACSE_RECV, self._received),
        ]

    def _connected(self, event: evt.Event) -> None:
        guard(event.assoc)
        connection = event.assoc.dul.socket.socket
        # Requests end in short packets, which must not wait for the peer's delayed acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The library takes its own limit away here; a peer that stops within a PDU would then hang us for good.
        connection.settimeout(self._network_timeout_s)
        self.connected = True

    def _received(self, event: evt.Event) -> None:
        if isinstance(event.primitive, A_ABORT | A_P_ABORT):
            self.ended = type(event.primitive)


def _acknowledge_at_once(event: evt.Event) -> None:
    """Linux delays acknowledgements again after every receive.

    DCMTK, and so Orthanc, sends a response in two packets and holds the second until the first is acknowledged,
    which without this costs 40 ms an instance.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError, AttributeError):  # the connection may be closed by now
            event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _request(
    peer: Peer,
    local: LocalEntity,
    contexts: Sequence[PresentationContext],
    handlers: list[Handler],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Association:
    entity = AE(ae_title=local.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = local.connect_timeout_s
    entity.acse_timeout = local.association_timeout_s
    entity.dimse_timeout = local.dimse_timeout_s
    entity.network_timeout = local.network_timeout_s
    try:
        return entity.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=local.max_pdu,
            tls_args=None if peer.tls is None else (peer.tls, peer.host),
            evt_handlers=handlers,
            ext_neg=list(roles),
        )
    except OSError as fault:  # from resolving the host name; connecting does not raise
        raise PeerUnavailable(f"{_name(peer)}: the host name cannot be resolved ({fault.strerror or fault})") from fault


def _fault(assoc: Association, peer: Peer, local: LocalEntity, watch: _Watch) -> PeerUnavailable:
    if not watch.connected:
        return PeerUnavailable(f"{_name(peer)}: {_connection_fault(peer, local.connect_timeout_s)}")
    answer = assoc.acceptor.primitive
    if assoc.is_rejected:
        return PeerUnavailable(f"{_name(peer)}: {_rejection(answer.result_source, answer.diagnostic, peer, local)}")
    if answer is not None:  # an acceptance, which the library then aborts
        return NothingInCommon(f"{_name(peer)}: the peer accepts none of the services that were proposed")
    if watch.ended is A_ABORT:
        return PeerUnavailable(f"{_name(peer)}: the peer aborted the association request")
    if watch.ended is A_P_ABORT:
        hint = "" if peer.tls else "; is this a DICOM port, and does it expect TLS?"
        return PeerUnavailable(f"{_name(peer)}: the peer closed the connection without an answer{hint}")
    return PeerUnavailable(
        f"{_name(peer)}: connected, but no answer to the association request within {local.association_timeout_s:g} s"
    )


def _name(peer: Peer) -> str:
    return f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"


def _rejection(source: int, diagnostic: int, peer: Peer, local: LocalEntity) -> str:
    """Words for PS3.8 table 9-21."""
    reasons = {
        (1, 2): "the peer does not support the DICOM application context",
        (1, 3): f"the peer does not recognise our AE title {local.ae_title!r}; enter it there as one that may call",
        (1, 7): f"the peer does not recognise {peer.ae_title!r} as its AE title; correct the one configured for it",
        (2, 2): "the peer does not support the protocol version",
        (3, 1): "the peer is congested for now",
        (3, 2): "the peer has as many associations as it allows",
    }
    return reasons.get((source, diagnostic), "the peer rejected the association and gave no reason")


def _connection_fault(peer: Peer, timeout_s: float) -> str:
    """Connect once more to see why it fails: the library keeps that to itself."""
    try:
        with socket.create_connection((peer.host, peer.port), timeout_s) as connection:
            if peer.tls is not None:
                with peer.tls.wrap_socket(connection, server_hostname=peer.host):
                    pass
    except ssl.SSLCertVerificationError as fault:
        return f"TLS failed: the peer's certificate is not accepted ({fault.verify_message})"
    except ssl.SSLError as fault:
        return f"TLS failed ({fault.reason or type(fault).__name__}); does the port speak TLS?"
    except ConnectionRefusedError:
        return "connection refused; nothing listens on that port"
    except TimeoutError:
        return f"no connection within {timeout_s:g} s; is the host up, and a firewall in between?"
    except OSError as fault:
        return f"no connection ({fault.strerror or type(fault).__name__})"
    return "the connection failed, but works again now; try again"
