"""What is told once a second is what Prometheus's own `observe` would have said."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from aily.observability.tally import MOST_VALUES, HistogramTally

#: Below, on and above each bound; beyond the last; and a value twice.
_OBSERVES = """
from prometheus_client import Histogram
from aily.observability.tally import HistogramTally, tell_all

once, told = (Histogram(name, "", ["kind"], buckets=(1, 2.5, 10)) for name in ("once", "told"))
tally = HistogramTally(told.labels("a"))
for values in ((0.5, 0, 1, 1.5, 2.5, 2.5), (10, 11, 1e9, 0.1)):
    for value in values:
        once.labels("a").observe(value)
        tally.observe(value)
    tell_all()
"""


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name.removeprefix(name), sample.labels.get("le", "")): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if metric.name == name and not sample.name.endswith("_created")
    }


def test_it_says_the_same_as_observe_in_files_that_processes_share(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _OBSERVES], env=environment, check=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))  # type: ignore[no-untyped-call]
    once = samples(registry, "once")
    assert once["_count", ""] == 10
    assert samples(registry, "told") == once


def test_it_keeps_only_so_many_values_where_nobody_has_it_tell() -> None:
    registry = CollectorRegistry()
    tally = HistogramTally(Histogram("kept", "", buckets=(1,), registry=registry))
    for _ in range(MOST_VALUES + 1):
        tally.observe(2)
    assert samples(registry, "kept")["_count", ""] == MOST_VALUES


def test_nothing_is_lost_or_told_twice_while_threads_observe() -> None:
    registry = CollectorRegistry()
    tally = HistogramTally(Histogram("raced", "", buckets=(1,), registry=registry))

    def observe() -> None:
        for _ in range(30_000):
            tally.observe(2)

    with ThreadPoolExecutor(3) as threads:
        observing = [threads.submit(observe) for _ in range(3)]
        while not all(future.done() for future in observing):
            tally.tell()
    tally.tell()
    found = samples(registry, "raced")
    assert (found["_count", ""], found["_sum", ""]) == (90_000, 180_000)
