"""Prometheus' configuration, alerts and Grafana's dashboards, held against promtool."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alerts import ALERTS, Case
from tests.deploy.conftest import require
from tests.deploy.deployment import DEPLOY
from tests.deploy.monitoring import (
    _METRIC,
    DASHBOARDS,
    PROMETHEUS,
    _series_name,
    dashboard_expressions,
    rules,
)

_METRICS_PAGE = (DEPLOY / "METRICS.md").read_text()


def promtool(*arguments: str) -> None:
    require("promtool")
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_alert_is_tried() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == ALERTS.keys()


def test_every_alert_says_how_urgent_it_is_and_what_is_wrong() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"page", "ticket"}, rule
            assert rule["annotations"]["summary"], rule


def test_alerts_fire_when_they_must_and_not_when_nearly(tmp_path: Path) -> None:
    cases = {
        name: [
            _promtool_case(name, case, values, firing=firing)
            for values, firing in ((case.fires, True), (case.quiet, False))
        ]
        for name, case in ALERTS.items()
    }
    recorded = [rule for rule in rules() if "record" in rule]
    files = []
    for rule in (rule for rule in rules() if "alert" in rule):
        # With all rules in each of them promtool would need a minute.
        name = rule["alert"]
        group = {"name": name, "rules": [*recorded, rule]}
        (tmp_path / f"{name}.rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
        tests = {"rule_files": [f"{name}.rules.yml"], "tests": cases[name]}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(tests))
        files.append(str(tmp_path / f"{name}.yml"))
    promtool("test", "rules", *files)


def _promtool_case(
    name: str, case: Case, values: tuple[str, ...], *, firing: bool
) -> dict[str, Any]:
    """One group: is the alert, and not merely pending, there after the time?"""
    series = [
        {"series": expression, "values": value}
        for expression, value in zip(case.series, values, strict=True)
    ]
    question = {
        "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
        "eval_time": f"{case.minutes}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
    }
    return {"interval": "1m", "input_series": series, "promql_expr_test": [question]}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == path.stem
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert panel["datasource"]["uid"] == _data_source()["uid"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_every_documented_metric_is_on_a_dashboard() -> None:
    rows = [line.split("|")[1] for line in _METRICS_PAGE.splitlines() if line.startswith("|")]
    documented = {name for row in rows for name in _METRIC.findall(row)}
    assert len(documented) > 50
    shown = {
        _series_name(name) for text in dashboard_expressions() for name in _METRIC.findall(text)
    }
    assert documented - shown == set()


def _data_source() -> dict[str, Any]:
    path = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    found: dict[str, Any] = yaml.safe_load(path.read_text())["datasources"][0]
    return found
