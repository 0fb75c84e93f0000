from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID

from service.errors import PeerUnavailable
from service.monitoring.log import configure_logging

NAME = "Doe^Jane"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("service", "training")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, earlier in levels.items():
        logging.getLogger(name).setLevel(earlier)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    found = io.StringIO()
    configure_logging("info", "json", found)
    return found


def our_log() -> structlog.stdlib.BoundLogger:
    return structlog.get_logger("service.somewhere")


def test_a_record_is_one_line_of_json_with_level_time_and_logger(stream):
    our_log().info("ready", port=11112, case_id="c000000000001")

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "ready",
        "level": "info",
        "logger": "service.somewhere",
        "port": 11112,
        "case_id": "c000000000001",
    }


def test_records_below_the_level_are_not_written():
    stream = io.StringIO()
    configure_logging("warning", "json", stream)

    our_log().info("quiet")
    our_log().warning("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_the_standard_library_s_loggers_are_joined_in(stream):
    logging.getLogger("uvicorn.error").warning("port %d is odd", 7)

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("port 7 is odd", "warning", "uvicorn.error")


def test_other_libraries_are_not_heard_below_warning_even_at_debug():
    stream = io.StringIO()
    configure_logging("debug", "json", stream)

    logging.getLogger("pynetdicom.acse").debug("(0010,0010) PN %s", NAME)
    logging.getLogger("alembic.runtime").info("context")
    our_log().debug("ours")

    assert [line["event"] for line in lines(stream)] == ["ours"]


@pytest.mark.parametrize(
    "key",
    [
        "patient_name",
        "PatientID",
        "patient",
        "Patient's Birth Date",
        "accession_number",
        "dataset",
        "birth-date",
        "MRN",
    ],
)
def test_keys_that_hold_patient_data_are_dropped_and_named(stream, key):
    our_log().info("received", **{key: NAME})

    (line,) = lines(stream)
    assert NAME not in stream.getvalue()
    assert line["withheld"] == [key]


def test_keys_that_hold_patient_data_are_dropped_at_any_depth(stream):
    our_log().info("received", series={"n": 3, "patient_id": NAME}, found=[{"patient_name": NAME, "ok": True}])

    (line,) = lines(stream)
    assert NAME not in stream.getvalue()
    assert line["series"] == {"n": 3}
    assert line["found"] == [{"ok": True}]


def test_a_data_set_is_dropped_under_any_key(stream):
    dataset = Dataset()
    dataset.PatientName = NAME

    our_log().info(
        "received", thing=dataset, element=dataset["PatientName"], several=[dataset], name=dataset.PatientName
    )

    assert NAME not in stream.getvalue()


def test_what_is_no_patient_data_stays(stream):
    our_log().info("received", address="10.0.0.7", calling_ae="CT1", uid=UID("1.2.3"), model="volume3d")

    (line,) = lines(stream)
    assert (line["address"], line["calling_ae"], line["uid"], line["model"]) == ("10.0.0.7", "CT1", "1.2.3", "volume3d")
    assert "withheld" not in line


def test_an_exception_is_logged_by_kind_and_place_without_its_text(stream):
    try:
        raise ValueError(f"cannot parse {NAME}")
    except ValueError:
        our_log().exception("unexpected error")
        logging.getLogger("elsewhere").exception("unexpected error")

    for line in lines(stream):
        assert line["kind"] == "ValueError"
        assert line["places"][-1].startswith("test_log.py:")
    assert len(lines(stream)) == 2
    assert NAME not in stream.getvalue()


def test_the_text_of_our_own_errors_is_kept(stream):
    try:
        raise PeerUnavailable("PACS did not answer within 10 s")
    except PeerUnavailable:
        our_log().warning("will be repeated", exc_info=True)

    assert lines(stream)[0]["fault"] == "PACS did not answer within 10 s"


def test_setting_it_up_again_writes_each_record_once():
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", first)
    configure_logging("info", "json", second)

    our_log().info("once")

    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_the_console_format_is_readable_and_uncoloured_off_a_terminal():
    stream = io.StringIO()
    configure_logging("info", "console", stream)

    our_log().info("ready", port=11112)

    assert "ready" in stream.getvalue()
    assert "port=11112" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


def test_warnings_without_their_text_are_said_once_for_each_place_and_counted_at_the_end(stream):
    def pydicom_again(value: str) -> None:
        logging.getLogger("pydicom").warning("value %s is odd", value)

    for _ in range(300):
        pydicom_again(NAME)
        logging.getLogger("uvicorn.error").warning("port %d is odd", 7)
    logging.getLogger("highdicom.base").warning("of %s", NAME)

    assert sum("withheld" in str(line["event"]) for line in lines(stream)) == 2
    assert sum(line["event"] == "port 7 is odd" for line in lines(stream)) == 300

    later = io.StringIO()
    configure_logging("info", "json", later)  # as a batch does before it converts
    pydicom_again(NAME)
    logging.getLogger().handlers[-1].close()  # as the end of the program does

    (last,) = lines(later)
    assert re.fullmatch(r"300 more with their text withheld \(test_log\.py:\d+\)", str(last["event"]))
    assert (last["level"], NAME in stream.getvalue() + later.getvalue()) == ("warning", False)


def test_the_count_of_withheld_warnings_is_said_when_the_program_ends():
    program = """
import sys, logging
from service.monitoring.log import configure_logging
configure_logging("warning", "json", sys.stdout)
for _ in range(5):
    logging.getLogger("pydicom").warning("of a patient")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )

    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert [event.split(" (")[0] for event in events] == [
        "text withheld, it may quote header values",
        "4 more with their text withheld",
    ]


def test_a_warning_of_pydicom_about_a_value_does_not_quote_it():
    # In a process of its own: pytest takes warnings before the log sees them.
    program = f"""
import sys
from service.monitoring.log import configure_logging
configure_logging("info", "json", sys.stdout)
from pydicom.dataset import Dataset
dataset = Dataset()
dataset.PatientBirthDate = "{NAME}"
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        timeout=60,
    )

    found = {line["logger"]: line["event"] for line in map(json.loads, done.stdout.splitlines())}
    assert found["py.warnings"].endswith("UserWarning")
    assert "withheld" in found["pydicom"]
    assert NAME not in done.stdout + done.stderr
