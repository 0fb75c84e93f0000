"""Which series are fetched as partners of a scan that came alone, and when the PACS is asked again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import service.priors
from service.config.loading import load_config
from service.dicom.headers import parse_header
from service.errors import PeerUnavailable
from service.network.retrieve import Retrieved
from service.network.search import SeriesFound
from service.priors import Priors, choose
from tests.builders.dicom import to_bytes
from tests.builders.patients import delayed_series
from tests.builders.received import summarise

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def scan():
    return summarise([parse_header(to_bytes(delayed_series()[0]))])


def found(number: int, description: str = "", instances: int | None = 170, protocol: str = "") -> SeriesFound:
    return SeriesFound(
        study_uid="1.2", series_uid=f"1.2.{number}", description=description, protocol=protocol, instances=instances
    )


def test_of_several_series_those_named_like_the_scan_are_fetched(scan):
    header = replace(scan.header, series_description="Sag T1 3D", protocol_name="")
    listed = [found(1, "T2 FLAIR"), found(2, "sag T1  3D"), found(3, "other", protocol="SAG T1 3D")]
    assert choose(listed, header, most=8) == (listed[1], listed[2])


def test_with_no_namesake_all_that_may_be_heads_are_fetched_up_to_a_number(scan):
    listed = [found(1, instances=3), found(2, instances=1), found(3, instances=None), found(4), found(5)]
    assert choose(listed, scan.header, most=3) == tuple(listed[1:4])


class Pacs:
    """Stands for the archive; answers or faults in turn."""

    def __init__(self, monkeypatch, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[object] = []
        self.moved: list[str] = []
        monkeypatch.setattr(service.priors, "mr_series_of", self._list)
        monkeypatch.setattr(service.priors, "move_series", self._move)

    def _list(self, peer, local, sought):
        self.asked.append(sought)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _move(self, peer, local, study_uid, series_uid):
        self.moved.append(series_uid)
        return Retrieved(completed=170, failed=0)


@pytest.fixture
def priors(tmp_path):
    config = tmp_path / "csf24.toml"
    config.write_text(
        f'[storage]\ndirectory = "{tmp_path}"\n[priors]\nsource = "PACS"\n'
        '[[destinations]]\nname = "PACS"\nae_title = "PACS"\nhost = "pacs.example"\nport = 104\n'
    )
    return Priors(
        load_config(config, {}),
        known=lambda uid: uid == "1.2.9",
        receive=lambda _: 0,
        on_ended=lambda _: None,
        on_fetched=lambda: None,
        now=lambda: NOW,
    )


def test_what_has_arrived_is_not_fetched_again_and_a_patient_is_asked_for_once(priors, scan, monkeypatch):
    pacs = Pacs(monkeypatch, (found(1), found(9)))
    for _ in range(3):
        priors.lacking([scan])
        priors.turn(NOW)
    assert pacs.moved == ["1.2.1"]
    (sought,) = pacs.asked
    assert sought.patient_id == scan.header.patient_id
    assert sought.latest == scan.acquired_at.date()
    assert (sought.latest - sought.earliest).days == 31


def test_a_pacs_that_is_down_is_asked_again_later_and_in_the_end_no_more(priors, scan, monkeypatch):
    pacs = Pacs(monkeypatch, *[PeerUnavailable("PACS: no connection")] * 100)
    priors.lacking([scan])
    for minutes in range(0, 3 * 24 * 60, 10):
        priors.turn(NOW + timedelta(minutes=minutes))
    assert 48 <= len(pacs.asked) <= 53  # once an hour for the 48 h that a partner is waited for
    assert pacs.moved == []


def test_one_patient_that_cannot_be_asked_for_keeps_no_other_waiting(priors, scan, monkeypatch):
    other = replace(scan, header=replace(scan.header, series_instance_uid="1.2.77"))
    pacs = Pacs(monkeypatch, ValueError("the Patient ID cannot be asked for"), RuntimeError("?"), (found(1),))
    priors.lacking([scan, other, replace(other, header=replace(scan.header, series_instance_uid="1.2.78"))])
    priors.turn(NOW)
    priors.turn(NOW + timedelta(hours=1))
    assert pacs.moved == ["1.2.1"]
    assert len(pacs.asked) == 3
