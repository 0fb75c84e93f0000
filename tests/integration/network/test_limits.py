"""Limits of the listener: each has its answer in the standard's terms, is told, and leaves the next sender alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from io import BytesIO
from ipaddress import ip_network

import pytest
from pydicom.uid import MRImageStorage
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from service.errors import StorageUnavailable
from service.network.admission import Pace, accept_policy
from service.network.intake import Intake, IntakeLimits
from service.network.messages import LARGEST_COMMAND
from service.network.requests import AssociationRequest, Excess, Refusal, Rejection
from tests.builders import dcmtk
from tests.builders.network import LOOPBACK, Inbox, associate, encoded_dataset, outgoing, write_series
from tests.builders.programs import needs, wait_until

VERIFICATION = "1.2.840.10008.1.1"
_OUT_OF_RESOURCES = "0xa700"


@pytest.fixture
def refused():
    """Whatever was refused, in order."""
    found: list[Refusal] = []
    return found


@pytest.fixture
def intake(refused) -> Callable[..., Intake]:
    def build(today: Callable[[], date] = lambda: date(2026, 5, 4), **limits: int) -> Intake:
        return Intake(IntakeLimits(**limits), on_refused=refused.append, today=today)

    return build


def reasons(refused: list[Refusal]) -> list[object]:
    return [refusal.why for refusal in refused]


# Who may call, and from where


def _request(calling: str = "SCANNER", address: str = "10.1.2.3") -> AssociationRequest:
    return AssociationRequest(calling_ae=calling, called_ae="CSF24", calling_address=address)


def test_a_listed_title_from_another_network_is_refused():
    admit = accept_policy(["SCANNER", "PACS"], False, None, lambda: True, origins=[("", ip_network("10.1.0.0/16"))])
    assert admit(_request()) is None
    assert admit(_request(address="::ffff:10.1.9.9")) is None
    assert admit(_request(address="10.2.0.1")) is Rejection.CALLING_ADDRESS_NOT_RECOGNISED
    assert admit(_request(address="fd00::1")) is Rejection.CALLING_ADDRESS_NOT_RECOGNISED
    assert admit(_request(calling="OTHER")) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED


def test_a_title_with_networks_of_its_own_calls_from_those_only():
    origins = [("PACS", ip_network("10.9.9.9")), ("", ip_network("10.1.0.0/16"))]
    admit = accept_policy(["SCANNER", "PACS"], False, None, lambda: True, origins=origins)
    assert admit(_request(calling="PACS", address="10.9.9.9")) is None
    assert admit(_request(calling="PACS", address="10.1.2.3")) is Rejection.CALLING_ADDRESS_NOT_RECOGNISED
    assert admit(_request(calling="SCANNER", address="10.9.9.9")) is Rejection.CALLING_ADDRESS_NOT_RECOGNISED


@needs("echoscu")
def test_a_wrong_address_reads_as_a_calling_title_that_is_not_recognised(listen, refused):
    policy = accept_policy(["DCMTK"], False, None, lambda: True, origins=[("DCMTK", ip_network("10.0.0.0/8"))])
    port = listen(admit=policy, on_refused=refused.append).port
    assert "Calling AE Title Not Recognized" in dcmtk.echoscu(port).text
    assert reasons(refused) == [Rejection.CALLING_ADDRESS_NOT_RECOGNISED]


# How many, and how often


@needs("echoscu")
def test_one_address_cannot_take_every_place(listen, refused):
    port = listen(max_associations=4, max_associations_per_address=2, on_refused=refused.append).port
    greedy = [associate(port, VERIFICATION, bind_address=("127.0.0.2", 0)) for _ in range(2)]
    with pytest.raises(AssertionError):
        associate(port, VERIFICATION, bind_address=("127.0.0.2", 0))
    assert dcmtk.echoscu(port).status == 0
    assert [(r.why, r.address) for r in refused] == [(Rejection.PEER_LIMIT_EXCEEDED, "127.0.0.2")]
    for assoc in greedy:
        assoc.release()
    wait_until(lambda: dcmtk.echoscu(port).status == 0)


def test_so_many_requests_a_minute_and_no_more():
    time = [0.0]
    pace = Pace(3, clock=lambda: time[0])
    assert [pace.allows("10.0.0.1") for _ in range(4)] == [True, True, True, False]
    assert pace.allows("10.0.0.2")
    time[0] = 59.9
    assert not pace.allows("10.0.0.1")
    time[0] = 60.1
    assert pace.allows("10.0.0.1")
    assert all(Pace(0, clock=lambda: 0.0).allows("10.0.0.1") for _ in range(10))


def test_the_pace_forgets_addresses_rather_than_grow_without_end():
    pace = Pace(1, clock=lambda: 0.0)
    for number in range(10_000):
        assert pace.allows(f"10.{number // 256}.{number % 256}.1")
    assert len(pace._times) <= 4096


# How much


@needs("storescu")
def test_an_instance_beyond_the_limit_is_answered_a700_and_its_neighbours_are_stored(listen, intake, refused, tmp_path):
    inbox = Inbox()
    port = listen(receive=inbox, intake=intake(instance=20_000)).port
    small, large = write_series(tmp_path / "s", 2), write_series(tmp_path / "l", 1, size=512, key="large")
    outcome = dcmtk.storescu(port, [small[0], large[0], small[1]], "-d")
    assert [item.sop_instance_uid for item in inbox.instances] == [i.sop_instance_uid for i in outgoing(small)]
    assert outcome.text.lower().count(_OUT_OF_RESOURCES) == 1
    assert reasons(refused) == [Excess.INSTANCE_TOO_LARGE]


def test_fragments_of_a_command_within_the_data_end_the_association(listen, refused, series):
    inbox = Inbox()
    listener = listen(receive=inbox, on_refused=refused.append)
    assoc = associate(listener.port, MRImageStorage)
    (item,) = outgoing(series[:1])
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, item.sop_instance_uid
    request.DataSet = BytesIO(b"")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    command = encode(message.command_set, True, True)
    connection = assoc.dul.socket.socket
    command = command.replace(b"\x00\x08\x02\x00\x00\x00\x01\x01", b"\x00\x08\x02\x00\x00\x00\x01\x00")
    connection.sendall(_p_data(3, command))
    connection.sendall(_p_data(0, bytes(1000)) + _p_data(1, b""))
    wait_until(lambda: reasons(refused) == [Excess.MALFORMED])
    wait_until(lambda: assoc.is_aborted)
    assert inbox.instances == []


@needs("storescu")
def test_an_association_may_bring_so_much(listen, intake, refused, series):
    inbox = Inbox()
    port = listen(receive=inbox, intake=intake(association=6_000)).port
    assert dcmtk.storescu(port, series, "-d").text.lower().count(_OUT_OF_RESOURCES) == 2
    assert len(inbox.instances) == 2
    assert reasons(refused) == [Excess.ASSOCIATION_TOO_LARGE] * 2
    assert dcmtk.storescu(port, series[2:]).status == 0  # the next one begins anew
    assert len(inbox.instances) == 4


@needs("storescu")
def test_an_address_may_bring_so_much_a_day(listen, intake, refused, series):
    day = [date(2026, 5, 4)]
    limit = intake(today=lambda: day[0], daily=6_000)
    port = listen(intake=limit, on_refused=refused.append).port
    assert dcmtk.storescu(port, series, "-d").text.lower().count(_OUT_OF_RESOURCES) == 2
    assert reasons(refused) == [Excess.DAILY_LIMIT_EXCEEDED] * 2
    assert not limit.day_is_full(LOOPBACK)  # a smaller instance would still fit
    day[0] = date(2026, 5, 5)
    assert dcmtk.storescu(port, series[:2]).status == 0


@needs("storescu")
def test_an_address_that_has_brought_all_is_refused_until_midnight(listen, intake, refused, series):
    day = [date(2026, 5, 4)]
    limit = intake(today=lambda: day[0], daily=len(encoded_dataset(series[0])))

    def admit(request: AssociationRequest) -> Rejection | None:
        return Rejection.DAILY_LIMIT_EXCEEDED if limit.day_is_full(request.calling_address) else None

    port = listen(intake=limit, admit=admit, on_refused=refused.append).port
    assert dcmtk.storescu(port, series[:1]).status == 0
    assert "Local Limit Exceeded" in dcmtk.echoscu(port).text
    day[0] = date(2026, 5, 5)
    assert dcmtk.echoscu(port).status == 0


@needs("storescu")
def test_a_disk_that_fills_within_an_association_is_told_as_such(listen, intake, refused, series):
    inbox = Inbox(answers=[0x0000, StorageUnavailable("the spool is short of space")])
    port = listen(receive=inbox, intake=intake()).port
    assert dcmtk.storescu(port, series, "-d").text.lower().count(_OUT_OF_RESOURCES) == 1
    assert reasons(refused) == [Excess.STORAGE_SHORT]
    assert len(inbox.instances) == 4


# What no answer can mend ends the association


def _p_data(control: int, content: bytes) -> bytes:
    value = bytes((1, control)) + content
    return b"\4\0" + (len(value) + 4).to_bytes(4, "big") + len(value).to_bytes(4, "big") + value


@needs("echoscu")
def test_a_pdu_longer_than_negotiated_ends_the_association(listen, refused):
    listener = listen(on_refused=refused.append)
    assoc = associate(listener.port, VERIFICATION)
    assoc.dul.socket.socket.sendall(b"\4\0\x7f\xff\xff\xff" + bytes(100))
    wait_until(lambda: assoc.is_aborted)
    wait_until(lambda: listener.associations == 0)
    assert reasons(refused) == [Excess.PDU_TOO_LONG]
    assert dcmtk.echoscu(listener.port).status == 0


@needs("echoscu")
def test_a_command_set_without_an_end_ends_the_association(listen, refused):
    listener = listen(on_refused=refused.append)
    assoc = associate(listener.port, VERIFICATION)
    for _ in range(LARGEST_COMMAND // 8000 + 1):
        assoc.dul.socket.socket.sendall(_p_data(1, bytes(8000)))
    wait_until(lambda: assoc.is_aborted)
    wait_until(lambda: listener.associations == 0)
    assert reasons(refused)[0] == Excess.COMMAND_TOO_LARGE
    assert dcmtk.echoscu(listener.port).status == 0


def test_requests_that_do_not_wait_for_their_answers_are_stored_in_turn(listen, refused, series):
    inbox = Inbox()
    listener = listen(receive=inbox, on_refused=refused.append)
    assoc = associate(listener.port, MRImageStorage)
    uids = [f"1.2.3.{number}" for number in range(1, 41)]
    for number, uid in enumerate(uids):
        request = C_STORE()
        request.MessageID, request.Priority = number + 1, 0
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, uid
        request.DataSet = BytesIO(bytes(16))
        assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
    wait_until(lambda: len(inbox.instances) == len(uids))
    assert [item.sop_instance_uid for item in inbox.instances] == uids
    assert refused == []
    assoc.abort()
    wait_until(lambda: listener.associations == 0)
