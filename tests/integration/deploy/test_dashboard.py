"""The Grafana dashboard asks only for what csf24 tells, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from service.monitoring.metrics import render
from tests.builders.programs import needs, required
from tests.builders.status import snapshot

COMPOSE = Path(__file__).parents[3] / "deploy" / "compose"
DASHBOARD: dict[str, Any] = json.loads((COMPOSE / "grafana" / "dashboards" / "csf24.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def expressions() -> Iterator[str]:
    for part in (*(target for panel in PANELS for target in panel["targets"]), *DASHBOARD["annotations"]["list"]):
        yield part["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["query"]["query"])


def told() -> dict[str, set[str]]:
    """Every metric that /metrics has, with the names of its labels; Prometheus adds two."""
    found: dict[str, set[str]] = {}
    busy = replace(snapshot(), refused={("association", "CALLING_AE_TITLE_NOT_RECOGNISED"): 2})
    for name, labels in re.findall(r"^(csf24_\w+)(\{.*\})? ", render(busy), re.MULTILINE):
        found.setdefault(name, {"instance", "job"}).update(re.findall(r"(\w+)=\"", labels))
    return found


def test_every_metric_and_label_is_one_that_the_service_tells() -> None:
    there = told()
    asked = set()
    for expression in expressions():
        for name, selector in re.findall(r"\b(csf24_\w+)(\{[^}]*\})?", expression):
            asked.add(name)
            assert name in there, name
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= there[name], expression
    assert len(asked) > 20


def test_legends_name_labels_that_there_are() -> None:
    there = told()
    for panel in PANELS:
        for target in panel["targets"]:
            (name, *_) = re.findall(r"csf24_\w+", target["expr"])
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= there[name], panel["title"]


@needs("promtool")
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    wanted = [text.replace("$instance", ".*") for text in expressions()]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(wanted)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [required("promtool"), "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_panels_have_numbers_and_places_of_their_own_and_say_what_they_show() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = {panel["title"]: panel["gridPos"] for panel in PANELS}
    assert len(places) == len(PANELS)
    for (one, a), (other, b) in combinations(places.items(), 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart |= a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart, (one, other)
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["description"].endswith(".")


def test_it_is_provisioned_from_where_compose_mounts_it_with_the_data_that_is_there() -> None:
    grafana = yaml.safe_load((COMPOSE.parent / "compose.yaml").read_text())["services"]["grafana"]
    targets = {volume.split(":")[0]: volume.split(":")[1] for volume in grafana["volumes"]}
    (provider,) = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/csf24.yaml").read_text())["providers"]
    assert provider["options"]["path"] == targets["./compose/grafana/dashboards"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/csf24.json"
    sources = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (source,) = sources
    used = {panel["datasource"]["uid"] for panel in PANELS}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
