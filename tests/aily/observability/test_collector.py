"""The collector in front of unavailable or silent servers; the files of ended processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from aily.monitoring import services
from aily.observability.collector import Family, GlobalCollector, Query, Reading
from aily.observability.server import remove_ended

Start = Callable[[Mapping[str, Sequence[Query]]], GlobalCollector]
NUMBER = Family("aily_number", "For the test.")


class _Asked:
    """A query whose end the test can wait for."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.is_over = threading.Event()

    def __call__(self) -> Iterator[Reading]:
        try:
            yield from self.query()
        finally:
            self.is_over.set()


def values(collector: GlobalCollector) -> dict[tuple[str, str], float]:
    """Values by name and service."""
    return {
        (sample.name, sample.labels.get("service", "")): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts collectors, which stop reading after the test."""
    started: list[GlobalCollector] = []

    def start(queries: Mapping[str, Sequence[Query]]) -> GlobalCollector:
        started.append(GlobalCollector(queries))
        started[-1].start()
        return started[-1]

    yield start
    for collector in started:
        collector.stop()


def test_a_server_that_is_away_is_down_and_takes_no_other_with_it(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"redis://127.0.0.1:{taken.getsockname()[1]}"
    away = _Asked(services.redis_query("away", nobody))
    here = _Asked(lambda: [Reading(NUMBER, 7)])
    collector = start({"away": [away], "here": [here]})
    assert away.is_over.wait(30)
    assert here.is_over.wait(30)
    wait_for_value(collector, ("aily_number", ""))
    found = values(collector)
    assert found["aily_up", "away"] == 0
    assert found["aily_up", "here"] == 1
    assert found["aily_number", ""] == 7


def wait_for_value(collector: GlobalCollector, key: tuple[str, str]) -> None:
    """The source stores what it found right after its query has ended."""
    deadline = threading.Event()
    for _ in range(1000):
        if key in values(collector):
            return
        deadline.wait(0.01)
    raise AssertionError(key)


def test_a_scrape_does_not_wait_for_a_server_that_says_nothing(start: Start) -> None:
    answered, asked = threading.Event(), threading.Event()

    def hang() -> Iterator[Reading]:
        asked.set()
        answered.wait()
        yield Reading(NUMBER, 1)

    collector = start({"silent": [hang]})
    assert asked.wait(30)
    # It would hang here, for as long as the server does.
    assert values(collector) == {("aily_up", "silent"): 0}
    answered.set()
    wait_for_value(collector, ("aily_number", ""))


def test_redis_roles_on_one_server_are_one_service() -> None:
    assert list(services.redis_services()) == ["redis"]


_COUNTS = """
from prometheus_client import Counter, Gauge
Counter("done", "").inc(3)
Gauge("running", "", multiprocess_mode="livesum").set(5)
print(flush=True)
input()
"""


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that shares its metrics in `tmp_path`."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _COUNTS],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def shared(directory: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_a_dead_process_keeps_its_counts_and_loses_its_gauges(
    counting: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    remove_ended(tmp_path)
    assert shared(tmp_path) == {"done_total": 3, "running": 5}
    counting.kill()
    counting.wait()
    remove_ended(tmp_path)
    assert shared(tmp_path) == {"done_total": 3}


def test_a_number_that_another_process_has_by_now_counts_as_dead(
    counting: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    [gauges] = tmp_path.glob("gauge_*")
    os.utime(gauges, (0, 0))
    remove_ended(tmp_path)
    assert shared(tmp_path) == {"done_total": 3}
