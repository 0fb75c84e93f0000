"""An accepted association from its acceptance to its end, in one thread: a request is read, served and answered.

The library's own acceptor runs two threads that look for work every millisecond, and stumbles over malformed messages
without ending the association. Reading and answering in turn needs neither, and a peer that sends on without waiting
for answers is kept waiting by itself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import dsutils

from service.network import commands, statuses, wire
from service.network.commands import Command, MalformedCommand, encode_command
from service.network.faults import where
from service.network.messages import Assembly, CommandTooLarge, Message, encode_message
from service.network.negotiation import AcceptedContext, Negotiated
from service.network.requests import AssociationRequest, Excess

_CLASS_IN_ANSWER = {commands.N_ACTION_RQ: commands.REQUESTED_SOP_CLASS}
_INSTANCE_IN_ANSWER = {commands.N_ACTION_RQ: commands.REQUESTED_SOP_INSTANCE}
_ECHOED = {commands.N_ACTION_RQ: commands.ACTION_TYPE, commands.N_EVENT_REPORT_RQ: commands.EVENT_TYPE}
_OUR_MESSAGE_ID = 1
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One DIMSE request.

    Attributes
    ----------
    dataset
        Encoded in `context.transfer_syntax`; empty where it was longer than is taken.
    dataset_length
        Bytes that came.
    association
        Tells this association from all others of the listener.
    """

    command: Command
    context: AcceptedContext
    dataset: bytes
    dataset_length: int
    caller: AssociationRequest
    association: str

    def identifier(self) -> Dataset:
        """The data set, decoded.

        Raises
        ------
        Exception
            It cannot be read; pydicom's exceptions are no closed set.
        """
        syntax = UID(self.context.transfer_syntax)
        content = BytesIO(self.dataset)
        return cast(
            Dataset,
            dsutils.decode(content, syntax.is_implicit_VR, syntax.is_little_endian, deflated=syntax.is_deflated),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response to the request; all but the last of a C-FIND are pending."""

    status: int
    dataset: Dataset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """An N-EVENT-REPORT of our own, on the association of the request that led to it."""

    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    information: Dataset


Service: TypeAlias = Callable[[Request], Iterable[Answer | EventReport]]
Services: TypeAlias = Mapping[int, Service]
"""By the command field of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of every association of a listener; lengths in bytes, times in seconds."""

    services: Services
    longest_pdu: int
    largest_dataset: int
    timeout_s: float


class Conversation:
    """One association; `hold` runs in a thread of its own, `end` may be called from any.

    Parameters
    ----------
    on_excess
        Told what ended it, where the peer went beyond what is bearable.
    """

    def __init__(
        self,
        connection: socket.socket,
        negotiated: Negotiated,
        terms: Terms,
        *,
        caller: AssociationRequest,
        association: str,
        on_excess: Callable[[Excess], None],
    ) -> None:
        self._connection = connection
        self._negotiated = negotiated
        self._terms = terms
        self._caller = caller
        self._association = association
        self._on_excess = on_excess
        self._assembly = Assembly(terms.largest_dataset)
        self._ending = False

    def hold(self) -> None:
        """Accept, and serve until it is over; returns whatever happens."""
        try:
            wire.send(self._connection, self._negotiated.answer, self._terms.timeout_s)
            self._serve_all()
        except TimeoutError:
            self._abort(wire.UNEXPECTED_PDU, None)  # in the time of a whole PDU nothing came, or not all of it
        except (OSError, wire.CutShort):
            if self._ending:  # else the connection is lost, and with it whoever might be told
                wire.say_last(self._connection, wire.abort_pdu(0, wire.USER))
        except wire.PduTooLong:
            self._abort(wire.INVALID_PARAMETER_VALUE, Excess.PDU_TOO_LONG)
        except CommandTooLarge:
            self._abort(wire.INVALID_PARAMETER_VALUE, Excess.COMMAND_TOO_LARGE)
        except MalformedCommand as fault:
            self._abort(wire.INVALID_PARAMETER_VALUE, Excess.MALFORMED, fault)
        except Exception as fault:  # noqa: BLE001 - no closed set of exceptions; their text quotes what was sent
            self._abort(wire.UNEXPECTED_PDU, Excess.MALFORMED, fault)

    def end(self) -> None:
        """Abort, as soon as what is being served has been served; nothing of it is answered with success any more."""
        self._ending = True
        wire.stop_reading(self._connection)

    def cut(self) -> None:
        """End it at once."""
        self._ending = True
        wire.cut(self._connection)

    def _serve_all(self) -> None:
        terms = self._terms
        while True:
            pdu = wire.read_pdu(self._connection, longest=terms.longest_pdu, timeout_s=terms.timeout_s)
            if self._ending:
                wire.say_last(self._connection, wire.abort_pdu(0, wire.USER))
                return
            if pdu is None or pdu.kind == wire.ABORT:
                return
            if pdu.kind == wire.RELEASE_RQ:
                wire.say_last(self._connection, wire.RELEASE_RESPONSE)
                return
            if pdu.kind != wire.P_DATA:
                known = wire.ASSOCIATE_RQ <= pdu.kind <= wire.ABORT
                self._abort(wire.UNEXPECTED_PDU if known else wire.UNRECOGNISED_PDU, Excess.MALFORMED)
                return
            for message in self._assembly.take(pdu.body):
                self._serve(message)

    def _serve(self, message: Message) -> None:
        field = message.command.field
        context = self._negotiated.contexts.get(message.context_id)
        if context is None:
            raise MalformedCommand("a message in a presentation context that was not accepted")
        if field & commands.RESPONSE:
            if message.command.number(commands.STATUS) != statuses.SUCCESS:
                _log.warning("a report of ours was not accepted", calling_ae=self._caller.calling_ae)
            return
        if field == commands.C_CANCEL_RQ:
            return  # what it would cancel has been answered already
        service = self._terms.services.get(field, _unrecognised)
        request = Request(
            command=message.command,
            context=context,
            dataset=message.dataset,
            dataset_length=message.dataset_length,
            caller=self._caller,
            association=self._association,
        )
        message.command.number(commands.MESSAGE_ID)  # without it there is no answer
        for reply in service(request):
            if self._ending:
                return
            self._send(message.context_id, context, _response(message.command, reply), reply)

    def _send(
        self, context_id: int, context: AcceptedContext, values: Mapping[int, int | str], reply: Answer | EventReport
    ) -> None:
        dataset = reply.dataset if isinstance(reply, Answer) else reply.information
        encoded = b"" if dataset is None else _encoded(dataset, context.transfer_syntax)
        command = encode_command(values, has_data_set=bool(encoded))
        data = encode_message(context_id, command, encoded, longest_pdu=self._negotiated.longest_pdu)
        wire.send(self._connection, data, self._terms.timeout_s)

    def _abort(self, reason: int, why: Excess | None, fault: Exception | None = None) -> None:
        if fault is not None:
            _log.warning(
                "association broken off",
                calling_ae=self._caller.calling_ae,
                address=self._caller.calling_address,
                fault=where(fault),
            )
        if why is not None:
            self._on_excess(why)
        wire.say_last(self._connection, wire.abort_pdu(reason))


def _unrecognised(_: Request) -> Iterable[Answer]:
    yield Answer(status=statuses.UNRECOGNISED_OPERATION)


def _response(command: Command, reply: Answer | EventReport) -> dict[int, int | str]:
    """Elements of the command set, PS3.7 9.3 and 10.3."""
    if isinstance(reply, EventReport):
        return {
            commands.AFFECTED_SOP_CLASS: reply.sop_class_uid,
            commands.COMMAND_FIELD: commands.N_EVENT_REPORT_RQ,
            commands.MESSAGE_ID: _OUR_MESSAGE_ID,
            commands.AFFECTED_SOP_INSTANCE: reply.sop_instance_uid,
            commands.EVENT_TYPE: reply.event_type,
        }
    field = command.field
    values: dict[int, int | str] = {
        commands.COMMAND_FIELD: field | commands.RESPONSE,
        commands.RESPONDED_TO: command.number(commands.MESSAGE_ID),
        commands.STATUS: reply.status,
    }
    for element, source in (
        (commands.AFFECTED_SOP_CLASS, _CLASS_IN_ANSWER.get(field, commands.AFFECTED_SOP_CLASS)),
        (commands.AFFECTED_SOP_INSTANCE, _INSTANCE_IN_ANSWER.get(field, commands.AFFECTED_SOP_INSTANCE)),
    ):
        uid = command.uid(source)
        if uid and uid.isascii():
            values[element] = uid
    echoed = _ECHOED.get(field)
    if echoed is not None and echoed in command.elements:
        values[echoed] = command.number(echoed)
    return values


def _encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    syntax = UID(transfer_syntax)
    encoded = dsutils.encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, deflated=syntax.is_deflated)
    if encoded is None:
        raise ValueError("a data set of ours cannot be encoded")
    return cast(bytes, encoded)
