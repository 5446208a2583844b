"""Series that alerts watch for an increase are there, at 0, before their first error."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from aily.concurrency.faults import PLACES
from aily.launcher.programs import BASE_DIR
from chat.observability.metrics import create_model_series
from chat.runner import recovery

_WEB = "import aily.routing; from aily.monitoring.process import observe; observe('web')"
_WORKER = "import aily.worker; from aily.monitoring.process import observe; observe('worker')"
_PRINT = "; from prometheus_client import generate_latest; print(generate_latest().decode())"
_INCREASE = re.compile(r"increase\((aily_[a-z_]+)(?:\{([^}]*)\})?\[")
#: Counted by the exporter, which always tells them; and money, where the first amount may be lost.
_OTHERS = re.compile(r"aily_(redis|db_deadlocks|cost)_?\w*")


def watched() -> Iterator[tuple[str, str]]:
    """Names and label selectors of counters whose increase alone fires an alert."""
    rules = yaml.safe_load((BASE_DIR / "deploy/prometheus/rules/aily.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            for name, selector in _INCREASE.findall(rule["expr"]):
                if not _OTHERS.fullmatch(name):
                    yield name, selector


def series_of(process: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", process + _PRINT],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


@pytest.fixture(scope="module")
def series() -> str:
    create_model_series(["m"])
    from prometheus_client import generate_latest

    return series_of(_WEB) + series_of(_WORKER) + generate_latest().decode()


def test_every_watched_counter_begins_at_0(series: str) -> None:
    found = list(watched())
    assert {"aily_faults_total", "aily_provider_errors_total"} <= {name for name, _ in found}
    for name, selector in found:
        lines = [line for line in series.splitlines() if re.match(rf"{name}(\{{| )", line)]
        for label, pattern in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            lines = [line for line in lines if re.search(rf'{label}="(?:{pattern})"', line)]
        assert lines, (name, selector)


def test_every_place_of_a_fault_is_known() -> None:
    named = re.compile(r'(?:note_fault|surviving|run_for_ever)\(\s*"([^"]+)"')
    sources = [
        path for app in ("aily", "chat", "accounts") for path in (BASE_DIR / app).rglob("*.py")
    ]
    places = {place for path in sources for place in named.findall(path.read_text())}
    places |= {f"sweep: {step.__name__}" for step in recovery.STEPS}
    assert len(places) > 20
    assert places - set(PLACES) == set()
