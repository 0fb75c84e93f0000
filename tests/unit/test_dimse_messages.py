"""Command sets and fragments of DIMSE messages, set against the library's codec."""

from __future__ import annotations

import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import MRImageStorage
from pynetdicom.dimse_messages import C_ECHO_RQ, C_FIND_RQ, C_STORE_RQ, N_ACTION_RQ, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu import P_DATA_TF

from service.network import commands
from service.network.commands import MalformedCommand, decode_command, encode_command
from service.network.messages import LARGEST_COMMAND, Assembly, CommandTooLarge, encode_message

UIDS = st.from_regex(r"[1-9](\.[1-9][0-9]{0,5}){1,8}", fullmatch=True)
NUMBERS = st.integers(0, 0xFFFF)


def fragments_of(message, longest_pdu: int) -> list[bytes]:
    """P-DATA-TF bodies as the library sends them."""
    bodies = []
    for primitive in message.encode_msg(1, longest_pdu):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        bodies.append(pdu.encode()[6:])
    return bodies


@given(UIDS, NUMBERS, st.binary(min_size=2, max_size=5000), st.integers(64, 20_000))
def test_what_the_library_sends_is_read_whatever_the_length_of_its_pdus(uid, message_id, dataset, longest_pdu):
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, uid
    request.DataSet = BytesIO(dataset)
    sent = C_STORE_RQ()
    sent.primitive_to_message(request)
    assembly = Assembly(0)
    (message,) = [m for body in fragments_of(sent, longest_pdu) for m in assembly.take(memoryview(body))]
    assert message.command.field == commands.C_STORE_RQ
    assert message.command.number(commands.MESSAGE_ID) == message_id
    assert message.command.uid(commands.AFFECTED_SOP_INSTANCE) == uid
    assert message.command.uid(commands.AFFECTED_SOP_CLASS) == MRImageStorage
    assert (message.dataset, message.dataset_length) == (dataset, len(dataset))


@pytest.mark.parametrize(
    ("primitive", "kind", "field"),
    [
        (C_ECHO, C_ECHO_RQ, commands.C_ECHO_RQ),
        (C_FIND, C_FIND_RQ, commands.C_FIND_RQ),
        (N_ACTION, N_ACTION_RQ, commands.N_ACTION_RQ),
        (N_EVENT_REPORT, N_EVENT_REPORT_RQ, commands.N_EVENT_REPORT_RQ),
    ],
)
def test_each_kind_of_request_is_told_by_its_command_field(primitive, kind, field):
    request = primitive()
    request.MessageID = 7
    sent = kind()
    sent.primitive_to_message(request)
    (body,) = fragments_of(sent, 16384)
    (message,) = Assembly(0).take(memoryview(body))
    assert message.command.field == field
    assert not message.command.has_data_set


@given(UIDS, NUMBERS, st.sampled_from([0x0000, 0xA700, 0xC000]), st.binary(max_size=3000), st.integers(64, 20_000))
def test_what_we_send_is_read_by_the_library(uid, message_id, status, dataset, longest_pdu):
    values = {
        commands.AFFECTED_SOP_CLASS: MRImageStorage,
        commands.COMMAND_FIELD: commands.C_FIND_RQ | commands.RESPONSE,
        commands.RESPONDED_TO: message_id,
        commands.STATUS: status,
        commands.AFFECTED_SOP_INSTANCE: uid,
    }
    data = encode_message(5, encode_command(values, has_data_set=bool(dataset)), dataset, longest_pdu=longest_pdu)
    received, at, complete = DIMSEMessage(), 0, False
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 6], "big")
        assert length <= longest_pdu
        pdu = P_DATA_TF()
        pdu.decode(data[at : at + 6 + length])
        assert not complete
        complete = received.decode_msg(pdu.to_primitive())
        at += 6 + length
    assert complete
    command = received.command_set
    assert (command.CommandField, command.MessageIDBeingRespondedTo) == (0x8020, message_id)
    assert (command.Status, command.AffectedSOPInstanceUID) == (status, uid)
    assert command.CommandGroupLength == len(encode_command(values, has_data_set=bool(dataset))) - 12
    assert received.data_set.getvalue() == dataset


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_malformed(content):
    try:
        command = decode_command(content)
        assert isinstance(command.field, int)
    except MalformedCommand:
        pass


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=60)), max_size=8))
def test_any_fragments_are_messages_or_malformed(fragments):
    body = b"".join(
        (len(content) + 2).to_bytes(4, "big") + bytes((context, control)) + content
        for context, control, content in fragments
    )
    with contextlib.suppress(MalformedCommand):
        assert len(list(Assembly(0).take(memoryview(body)))) <= len(fragments)


def test_of_a_data_set_beyond_the_limit_nothing_is_kept_but_its_length():
    assembly = Assembly(100)
    command = encode_command({commands.COMMAND_FIELD: 1, commands.MESSAGE_ID: 1}, has_data_set=True)
    data = encode_message(1, command, bytes(1000), longest_pdu=80)
    bodies, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 6], "big")
        bodies.append(data[at + 6 : at + 6 + length])
        at += 6 + length
    (message,) = [m for body in bodies for m in assembly.take(memoryview(body))]
    assert (message.dataset, message.dataset_length) == (b"", 1000)


def test_a_command_set_that_does_not_end_is_given_up_on():
    assembly = Assembly(0)
    body = (60_002).to_bytes(4, "big") + b"\1\1" + bytes(60_000)
    assert list(assembly.take(memoryview(body))) == []
    assert LARGEST_COMMAND > 60_000
    with pytest.raises(CommandTooLarge):
        list(assembly.take(memoryview(body)))
