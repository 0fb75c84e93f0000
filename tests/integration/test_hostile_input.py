"""Input made to hurt: files and conversations, crafted by hand and changed at random; the random ones are the same
each time, and ``python -m tests.benchmarks fuzz`` runs as many more as are wanted."""

from __future__ import annotations

import resource
import socket
import time

import pytest
from pydicom.uid import MRImageStorage

from service.network.requests import Excess, Refusal
from tests.builders import dcmtk
from tests.builders.fuzzing import examine_file, fuzz_files, fuzz_listener, receiving_listener
from tests.builders.hostile import crafted_files, hostile_file, p_data, valid_files
from tests.builders.network import LOOPBACK, association_request, outgoing, write_series
from tests.builders.programs import needs, wait_until

SEED = 24
_MORE_MB = 2500
"""A deflated file may take what the largest clinical series takes, twice."""
CRAFTED = {
    "a deflated bomb": {"NOT_DICOM"},
    "sequences 5000 deep": {"NOT_DICOM"},
    "sequences 200000 deep": {"NOT_DICOM"},
    "a sequence of 200000 items": {"volume"},
    "rows and columns of 65535": {"MISSING_PIXEL_DATA"},
    "2147483647 frames": {"MISSING_PIXEL_DATA"},
    "-1 frames": {"PIXELS_UNREADABLE"},
    "no rows": {"MISSING_PIXEL_DATA"},
    "64 bits allocated": {"MISSING_PIXEL_DATA"},
    "0 bits allocated": {"MISSING_PIXEL_DATA"},
    "a path for a UID": {"MISSING_UID"},
    "a path for a study": {"MISSING_UID"},
    "a position that is not finite": {"volume"},
    "spacing of nothing": {"volume"},
    "a JPEG 2000 of 2^31 pixels": {"PIXELS_UNREADABLE"},
    "a JPEG of 65535 pixels a side": {"PIXELS_UNREADABLE"},
    "an RLE run without end": {"PIXELS_UNREADABLE"},
}
pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, on what it makes of the bytes


@pytest.fixture(scope="module")
def crafted() -> dict[str, bytes]:
    return crafted_files()


@pytest.mark.parametrize("what", CRAFTED)
def test_a_file_made_to_hurt_costs_little_and_is_refused_by_its_code(what, crafted):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    assert examine_file(crafted[what]) in CRAFTED[what]
    assert time.monotonic() - started < 20
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 < _MORE_MB


def test_each_crafted_file_has_a_case(crafted):
    assert set(crafted) == set(CRAFTED)


def test_valid_files_are_read_so_that_what_is_changed_in_them_is_not_lost_on_the_way():
    assert {examine_file(content) for content in valid_files()} == {"volume"}
    assert hostile_file(5, SEED) == hostile_file(5, SEED)
    assert len({hostile_file(number, SEED) for number in range(50)}) > 45


@pytest.mark.slow
def test_files_changed_at_random_are_read_or_refused_and_nothing_else():
    found = fuzz_files(400, SEED)
    assert found.crashes == []
    assert found.outcomes.total() == 400
    assert {"volume", "NOT_DICOM", "MISSING_UID", "PIXELS_UNREADABLE"} <= set(found.outcomes)


@pytest.mark.slow
def test_conversations_changed_at_random_end_and_leave_nothing_behind():
    found = fuzz_listener(300, SEED)
    assert found.crashes == []
    assert {"accepted", "aborted"} <= set(found.outcomes)
    assert found.before is not None and found.after is not None
    assert found.after.threads <= found.before.threads
    assert found.after.files <= found.before.files + 15  # connections of the ledger's pool


# A command set that the library stumbles over


def _element(number: int, value: bytes) -> bytes:
    return b"\0\0" + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize(
    "command",
    [
        _element(0x0100, b"\x30\0") + _element(0x0110, b"\1\0"),
        _element(0x0100, b"\x30\x30") + _element(0x0800, b"\1\1"),
        b"\xff" * 40,
    ],
    ids=["without a data set type", "of no known command", "of noise"],
)
@needs("echoscu")
def test_a_malformed_command_ends_its_association_with_an_abort_and_no_traceback(tmp_path, capfd, command):
    refused: list[Refusal] = []
    with receiving_listener(tmp_path, refused) as listener:
        with socket.create_connection((LOOPBACK, listener.port), timeout=5) as connection:
            connection.sendall(association_request())
            assert connection.recv(4096)[:1] == b"\2"
            connection.sendall(p_data(3, command))
            assert connection.recv(10)[:1] == b"\7"
            assert connection.recv(1) == b""
        wait_until(lambda: listener.associations == 0)
        assert [refusal.why for refusal in refused] == [Excess.MALFORMED]
        assert dcmtk.echoscu(listener.port).status == 0
    assert "Traceback" not in capfd.readouterr().err


@needs("storescu")
def test_after_all_that_a_series_is_received(tmp_path):
    with receiving_listener(tmp_path, []) as listener:
        for message in (p_data(1, b"\xff" * 100), p_data(0, b"\xff" * 100), p_data(3, b""), b"\4\0\0\0\0\0"):
            with socket.create_connection((LOOPBACK, listener.port), timeout=5) as connection:
                connection.sendall(association_request(sop_class=MRImageStorage))
                connection.recv(4096)
                connection.sendall(message)
        series = write_series(tmp_path / "series", 3)
        assert dcmtk.storescu(listener.port, series).status == 0
    assert len(list((tmp_path / "spool" / "objects").glob("*/*.dcm"))) == len(outgoing(series))
