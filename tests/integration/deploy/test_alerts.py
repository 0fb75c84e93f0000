"""deploy/csf24.alerts.yml, judged by promtool: valid, and each alert fires when it should and only then."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from service.monitoring.metrics import render
from tests.builders.programs import needs, required
from tests.builders.status import snapshot

RULES = Path(__file__).parents[3] / "deploy" / "csf24.alerts.yml"
NAMES = re.findall(r"alert: (\w+)", RULES.read_text())
# alert: (series, its values in trouble and otherwise, minutes until it fires)
CASES: dict[str, tuple[str, str, str, int]] = {
    "Csf24Down": ('up{job="csf24", instance="a"}', "0x180", "1x180", 3),
    "Csf24NotReady": ('csf24_ready{instance="a"}', "0x180", "1x180", 3),
    "Csf24CasesRed": ('csf24_cases{state="failed", instance="a"}', "2x180", "0x180", 11),
    "Csf24CasesHeld": ('csf24_cases{state="held", instance="a"}', "1x180", "0x180", 61),
    "Csf24ManyRefusals": ('csf24_outcomes{outcome="refused", instance="a"}', "0+1x180", "7x180", 170),
    "Csf24DestinationSilent": ('csf24_peer_up{destination="PACS", instance="a"}', "0x180", "1x180", 11),
    "Csf24MachineLost": ('csf24_machine_up{machine="b-0", instance="a"}', "0x180", "1x180", 3),
    "Csf24DiskFilling": ('csf24_disk_free_bytes{instance="a"}', "3e9x180", "9e9x180", 16),
    "Csf24QueueStuck": ('csf24_jobs{state="running", instance="a"}', "0x180", "1x180", 16),
}
BESIDE = [
    {"series": 'csf24_disk_required_bytes{instance="a"}', "values": "2e9x180"},
    {"series": 'csf24_jobs{state="waiting", instance="a"}', "values": "3x180"},
]


def promtool(*arguments: str) -> str:
    done = subprocess.run([required("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_alerts_watch_only_what_the_service_tells() -> None:
    told = set(re.findall(r"^(csf24_\w+)", render(snapshot()), re.MULTILINE))

    watched = set(re.findall(r"\b(csf24_\w+)", "\n".join(re.findall(r"expr: (.*)", RULES.read_text()))))
    assert watched
    assert watched <= told


def test_every_alert_has_its_scenario() -> None:
    assert sorted(NAMES) == sorted(CASES)


@needs("promtool")
def test_prometheus_takes_the_rules() -> None:
    assert f"{len(NAMES)} rules found" in promtool("check", "rules", str(RULES))


@needs("promtool")
@pytest.mark.parametrize("name", NAMES)
def test_an_alert_fires_in_trouble_after_its_patience_and_not_otherwise(tmp_path: Path, name: str) -> None:
    series, trouble, calm, minutes = CASES[name]
    # What an alert says is compared word for word by promtool's own test of alerts; here it only is counted.
    count = f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)'
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values}, *BESIDE],
            "promql_expr_test": [
                {"expr": count, "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": value}]}
            ],
        }
        for values, at, value in ((trouble, minutes, 1), (trouble, 1, 0), (calm, 170, 0))
    ]
    path = tmp_path / "scenario.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(path))
