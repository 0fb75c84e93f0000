"""The table of injection times on disk, followed while the service runs."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.config import load_config
from service.errors import ConfigError
from service.injection_file import InjectionFile

HEADING = "patient_id,injection_time\n"


def opened(path: Path) -> InjectionFile:
    return InjectionFile(load_config(None, {"CSF24_PAIRING__INJECTION_TIMES": str(path)}))


def write(path: Path, text: str, minute: int) -> None:
    """As edited at that minute, so that no two edits share a time stamp."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (60 * minute, 60 * minute))


def times_of(file: InjectionFile, patient: str) -> list[datetime]:
    return [entry.injection_time for entry in file.times().table.get(patient, ())]


def test_an_edited_table_counts_from_the_next_look_and_is_news_once(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    write(path, HEADING + "P1,2026-03-04T09:30\n", 1)
    file = opened(path)
    assert not file.changed()
    assert times_of(file, "P1") == [datetime(2026, 3, 4, 9, 30)]

    write(path, HEADING + "P1,2026-03-04T09:45\nP2,2026-03-05T10:00\n", 2)
    assert file.changed()
    assert not file.changed()
    assert times_of(file, "P1") == [datetime(2026, 3, 4, 9, 45)]
    assert times_of(file, "P2") == [datetime(2026, 3, 5, 10, 0)]


@pytest.mark.parametrize("spoilt", [HEADING + "P-SECRET,half past nine\n", "P-SECRET;09:30\n", None])
def test_a_table_that_cannot_be_used_leaves_the_last_good_one_in_force(tmp_path: Path, spoilt: str | None) -> None:
    path = tmp_path / "times.csv"
    write(path, HEADING + "P1,2026-03-04T09:30\n", 1)
    file = opened(path)
    if spoilt is None:
        path.unlink()
    else:
        write(path, spoilt, 2)
    with capture_logs() as logged:
        assert not file.changed()
        assert not file.changed()  # told once, not at every turn
    assert [entry["log_level"] for entry in logged] == ["error"]
    assert "P-SECRET" not in str(logged)
    assert times_of(file, "P1") == [datetime(2026, 3, 4, 9, 30)]

    write(path, HEADING + "P1,2026-03-04T09:45\n", 3)
    assert file.changed()
    assert times_of(file, "P1") == [datetime(2026, 3, 4, 9, 45)]


def test_without_a_table_there_are_no_times_and_no_news() -> None:
    file = InjectionFile(load_config(None, {}))
    assert not file.changed()
    assert file.times().table == {}


def test_a_service_does_not_start_with_a_table_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    write(path, HEADING + "P-SECRET,2026-03-04\nP2,2026-03-04T09:30,1.2,3\n", 1)
    with pytest.raises(ConfigError) as caught:
        opened(path)
    assert len(caught.value.problems) == 2
    assert "P-SECRET" not in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="accepted: a CSV file in UTF-8"):
        opened(path)
