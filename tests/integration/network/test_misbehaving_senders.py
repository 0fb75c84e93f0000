"""Senders that stop, stay silent or never leave; and a listener that stops under them."""

from __future__ import annotations

import socket
import time
from threading import Event, Thread

import pytest
from pydicom.uid import MRImageStorage

from tests.builders import dcmtk
from tests.builders.network import LOOPBACK, associate
from tests.builders.programs import needs, wait_until

VERIFICATION = "1.2.840.10008.1.1"
_STOP_WITHIN_S = 8.0
_HALF_A_PDU = b"\x04\x00\x00\x00\x10\x00" + bytes(100)
"""A P-DATA-TF of 4096 bytes (PS3.8 9.3.5), of which 100 come."""


@needs("echoscu")
def test_a_sender_that_stops_within_a_message_loses_its_place(listen):
    port = listen(max_associations=1, network_timeout_s=1.0).port
    stuck = associate(port, VERIFICATION)
    stuck.dul.socket.socket.sendall(_HALF_A_PDU)
    assert dcmtk.echoscu(port).status != 0  # it has the only place
    wait_until(lambda: dcmtk.echoscu(port).status == 0, timeout_s=8)
    stuck.abort()


@needs("echoscu")
def test_connections_that_never_ask_do_not_stop_others(listen):
    port = listen(association_timeout_s=2.0).port
    silent = [socket.create_connection((LOOPBACK, port)) for _ in range(5)]
    try:
        assert dcmtk.echoscu(port).status == 0
    finally:
        for connection in silent:
            connection.close()


@needs("echoscu")
def test_port_probes_take_no_place_from_senders(listen):
    listener = listen(max_associations=2, association_timeout_s=30.0)
    for _ in range(4):
        socket.create_connection((LOOPBACK, listener.port)).close()
    wait_until(lambda: dcmtk.echoscu(listener.port).status == 0, timeout_s=5)


@needs("echoscu")
def test_what_is_not_dicom_is_hung_up_on(listen):
    port = listen(association_timeout_s=1.0, network_timeout_s=1.0).port
    with socket.create_connection((LOOPBACK, port), timeout=5) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while browser.recv(1024):  # an A-ABORT, then the end
            pass
    assert dcmtk.echoscu(port).status == 0


@needs("echoscu")
def test_a_listener_stops_under_open_associations_and_frees_its_port(listen):
    ended: list[str] = []
    listener = listen(on_released=lambda: ended.append("ended"), network_timeout_s=30.0)
    port = listener.port
    idle, stuck = associate(port, VERIFICATION), associate(port, VERIFICATION)
    stuck.dul.socket.socket.sendall(_HALF_A_PDU)
    silent = socket.create_connection((LOOPBACK, port))
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < _STOP_WITHIN_S
    wait_until(lambda: not idle.is_established)
    assert len(ended) >= 2
    assert dcmtk.echoscu(port).status != 0
    again = listen(port=port)
    assert again.port == port
    assert dcmtk.echoscu(port).status == 0
    silent.close()
    stuck.abort()


def test_a_listener_that_stops_while_storing_does_not_tell_success(listen, series):
    storing, go_on = Event(), Event()

    def receive(_: object) -> int:
        storing.set()
        go_on.wait(10)
        return 0x0000

    listener = listen(receive=receive)
    assoc = associate(listener.port, MRImageStorage)
    answers: list[object] = []

    sender = Thread(target=lambda: answers.append(assoc.send_c_store(series[0]).get("Status")))
    sender.start()
    assert storing.wait(5)
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < _STOP_WITHIN_S
    go_on.set()
    sender.join(10)
    assert answers == [None]


def test_a_port_that_is_taken_is_an_error_at_the_start(listen):
    port = listen().port
    with pytest.raises(OSError, match="in use"):
        listen(port=port)


def test_stopping_twice_is_no_fault(listen):
    listener = listen()
    listener.stop()
    listener.stop()
