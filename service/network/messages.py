"""DIMSE messages put together from fragments, and taken apart into them (PS3.8 9.3.5 and annex E)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from service.network.commands import Command, MalformedCommand, decode_command
from service.network.requests import HEADER_LENGTH
from service.network.wire import P_DATA

LARGEST_COMMAND = 64 * 1024
"""Bytes of a command set (PS3.7 6.3.1); real ones take a few hundred."""
_COMMAND, _LAST = 1, 2  # bits of the message control header, PS3.8 E.2
_ITEM_HEAD = 6  # length, presentation context id, message control header
_UNNEGOTIATED_PDU = 1 << 17
"""What is sent at most to a peer that takes PDUs of any length."""


class CommandTooLarge(Exception):
    """A command set that does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A command with its data set.

    Attributes
    ----------
    dataset
        Encoded; empty where the command has none, or it was longer than is taken.
    dataset_length
        Bytes that came.
    """

    context_id: int
    command: Command
    dataset: bytes
    dataset_length: int


class Assembly:
    """Of one association.

    Parameters
    ----------
    largest_dataset
        Bytes; of a longer one nothing is kept. 0 sets no limit.
    """

    def __init__(self, largest_dataset: int) -> None:
        self._largest = largest_dataset
        self._begin()

    def take(self, body: memoryview) -> Iterator[Message]:
        """The messages that a P-DATA-TF completes.

        Raises
        ------
        MalformedCommand
            The fragments make no message.
        CommandTooLarge
            Beyond `LARGEST_COMMAND`.
        """
        at = 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            if length < 2 or at + 4 + length > len(body):
                raise MalformedCommand("a presentation data value is longer than its PDU")
            fragment = body[at + _ITEM_HEAD : at + 4 + length]
            if self._add(body[at + 4], body[at + 5], fragment):
                yield self._whole()
            at += 4 + length

    def _begin(self) -> None:
        self._context_id: int | None = None
        self._encoded = bytearray()
        self._command: Command | None = None
        self._fragments: list[memoryview] = []
        self._length = 0

    def _add(self, context_id: int, control: int, fragment: memoryview) -> bool:
        """Whether the message is whole."""
        is_command, is_last = bool(control & _COMMAND), bool(control & _LAST)
        if is_command is not (self._command is None) or self._context_id not in (None, context_id):
            raise MalformedCommand("fragments of several messages are mixed")
        self._context_id = context_id
        if is_command:
            self._encoded += fragment
            if len(self._encoded) > LARGEST_COMMAND:
                raise CommandTooLarge
            if is_last:
                self._command = decode_command(bytes(self._encoded))
            return is_last and self._command is not None and not self._command.has_data_set
        self._length += len(fragment)
        if self._fits:
            self._fragments.append(fragment)
        else:
            self._fragments.clear()
        return is_last

    @property
    def _fits(self) -> bool:
        return not self._largest or self._length <= self._largest

    def _whole(self) -> Message:
        assert self._command is not None
        assert self._context_id is not None
        message = Message(
            context_id=self._context_id,
            command=self._command,
            dataset=b"".join(self._fragments),
            dataset_length=self._length,
        )
        self._begin()
        return message


def encode_message(context_id: int, command: bytes, dataset: bytes, *, longest_pdu: int) -> bytes:
    """P-DATA-TF PDUs of a message.

    Parameters
    ----------
    longest_pdu
        Bytes behind a PDU's header that the peer takes; 0 for any number.
    """
    room = (longest_pdu or _UNNEGOTIATED_PDU) - _ITEM_HEAD
    parts = [(_COMMAND, command), *([(0, dataset)] if dataset else [])]
    return b"".join(
        _p_data(context_id, kind | (_LAST if at + room >= len(content) else 0), content[at : at + room])
        for kind, content in parts
        for at in range(0, len(content), room)
    )


def _p_data(context_id: int, control: int, fragment: bytes) -> bytes:
    length = len(fragment) + 2
    head = bytes((P_DATA, 0)) + (length + 4).to_bytes(HEADER_LENGTH - 2, "big")
    return head + length.to_bytes(4, "big") + bytes((context_id, control)) + fragment
