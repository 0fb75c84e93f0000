"""The two threads of an association end it properly whatever a peer makes them stumble over.

The library lets exceptions end them: on a command set that lacks an element, or names no command, the connection stays
open, nobody is told, and the interpreter prints a traceback whose text is the peer's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

import structlog
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT

from service.network.bounded_socket import UNEXPECTED_PDU, abort_pdu
from service.network.faults import where
from service.network.requests import AssociationRequest, Excess

_log = structlog.get_logger()


def guard_threads(assoc: Association, request: AssociationRequest, on_broken: Callable[[Excess], None]) -> None:
    """Before its threads start.

    Parameters
    ----------
    on_broken
        Told when one of them stumbled.
    """
    assoc.dul.run = partial(_run_reactor, assoc, request, assoc.dul.run, on_broken)
    assoc.run = partial(_run_association, assoc, request, assoc.run, on_broken)


def _run_reactor(
    assoc: Association, request: AssociationRequest, run: Callable[[], None], on_broken: Callable[[Excess], None]
) -> None:
    try:
        run()
    except Exception as fault:  # noqa: BLE001 - no closed set of exceptions; their text quotes what was sent
        _break(assoc, request, fault, on_broken)
    finally:
        # For the association's thread: whoever waits for an answer learns that none comes.
        assoc.dul.kill_dul()
        assoc.dul.state_machine.current_state = "Sta1"
        assoc.dul.socket.close_for_good()
        assoc.dimse.msg_queue.put((None, None))
        assoc.dul.to_user_queue.put(A_P_ABORT())


def _run_association(
    assoc: Association, request: AssociationRequest, run: Callable[[], None], on_broken: Callable[[Excess], None]
) -> None:
    try:
        run()
    except Exception as fault:  # noqa: BLE001 - as above
        _break(assoc, request, fault, on_broken)
    finally:
        assoc.dul.kill_dul()


def _break(
    assoc: Association, request: AssociationRequest, fault: Exception, on_broken: Callable[[Excess], None]
) -> None:
    _log.warning(
        "association broken off",
        calling_ae=request.calling_ae,
        address=request.calling_address,
        fault=where(fault),
    )
    with contextlib.suppress(OSError, AttributeError):  # the connection may be closed by now
        assoc.dul.socket.socket.sendall(abort_pdu(UNEXPECTED_PDU))
    on_broken(Excess.MALFORMED)
