"""What the rules and dashboards of deploy/ ask Prometheus for."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.deploy.deployment import DEPLOY

PROMETHEUS = DEPLOY / "prometheus"


DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


_METRIC = re.compile(r"\b(?:aily|gen_ai)_[a-z0-9_]+\b")


def rules() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    """What the panels ask for, with Grafana's own variables filled in."""
    targets = [
        target
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    return [target["expr"].replace("$__rate_interval", "1m") for target in targets]


def metric_names() -> set[str]:
    """The metrics that rules and dashboards read, without what the rules record themselves."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    texts = [*dashboard_expressions(), *(rule["expr"] for rule in rules())]
    found = {_series_name(name) for text in texts for name in _METRIC.findall(_unlabelled(text))}
    return found - recorded


def _unlabelled(expression: str) -> str:
    """Without label names, some of which look like metrics."""
    grouped = re.sub(r"\b(by|on|without) \([^)]*\)", "", expression)
    return re.sub(r"\{[^}]*\}", "", grouped)


def _series_name(name: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", name)
