"""A scan of the next day comes after all: the prediction is held against it, and people see how it did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli_cases import app
from service.monitoring import metrics, page
from service.storage.follow_up_ledger import FollowUpState
from tests.builders.ward import Ward


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("follow-up")


@pytest.fixture(scope="module")
def ward(root: Path) -> Iterator[Ward]:
    ward = Ward(root)
    yield ward
    ward.close()


@pytest.fixture(scope="module")
def case_id(ward: Ward) -> str:
    return ward.follow_up()


def test_the_comparison_is_kept_with_the_case(ward: Ward, case_id: str) -> None:
    found = ward.ledger.follow_ups.of(case_id)
    assert found is not None
    assert (found.state, found.reasons) == (FollowUpState.JUDGED, ())
    assert found.hours == pytest.approx(24.0, abs=0.01)
    assert found.scanner.startswith("SIEMENS")
    fluid = found.figures["regions"]["fluid"]
    assert fluid["increase"] > 0.1  # tracer came
    assert fluid["error"] < fluid["persistence_error"] + 0.05
    assert found.figures["reflux"]["grade_acquired"] in ("0", "3", "4", "indeterminate")
    assert 0 <= found.figures["coverage"] <= 1
    (note,) = [event for event in ward.ledger.cases.events(case_id) if event.kind == "follow-up"]
    assert "24.0 h after the injection" in note.text


def test_the_pages_the_metrics_and_the_command_show_it(ward: Ward, case_id: str, root: Path) -> None:
    view, snapshot = ward.source.case(case_id), ward.source.snapshot()
    assert view is not None
    shown = page.render_case(view)
    assert "Acquired 24.0 h after the injection" in shown
    assert "had the delayed scan been taken" in shown
    trends = page.render_trends(snapshot)
    assert case_id in trends
    assert "1 comparison" in trends
    text = metrics.render(snapshot)
    assert 'csf24_follow_ups{state="judged"} 1.0' in text
    assert 'of="prediction"' in text
    config = root / "csf24.toml"
    config.write_text(f'[storage]\ndirectory = "{root}"\n')
    answered = CliRunner().invoke(app, ["follow-ups", "--config", str(config), "--json"])
    (listed,) = json.loads(answered.stdout)
    assert (listed["case_id"], listed["state"]) == (case_id, "judged")
    assert case_id in CliRunner().invoke(app, ["follow-ups", "--config", str(config)]).stdout


def test_the_same_scan_is_not_compared_twice_and_nothing_is_converted_again(ward: Ward, case_id: str) -> None:
    before = ward.ledger.follow_ups.of(case_id)
    ward.pair_up()
    assert ward.ledger.follow_ups.of(case_id) == before
    assert ward.ledger.cases.case(case_id).revision == 1
