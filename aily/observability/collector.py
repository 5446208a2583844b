"""Metrics read from PostgreSQL and Redis, by one process in the background.

A scrape gets the last readings and never waits, however many scrape and whatever is unavailable.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

#: Pause between two collections; longer if collecting would take more than LOAD_SHARE of the time.
SECONDS = 5.0
LOAD_SHARE = 0.05
#: Readings older than so many pauses are left out.
STALE_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Family:
    """One global metric: name, documentation and label names. Counters end in `_total`."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    def metric(self) -> GaugeMetricFamily | CounterMetricFamily:
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        return kind(self.name, self.documentation, labels=self.labels)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a family, with its labels' values."""

    family: Family
    value: float
    labels: tuple[str, ...] = ()


#: Reads one service. May raise any exception if that is unavailable.
Query = Callable[[], Iterable[Reading]]

UP = Family("aily_up", "1 while the service answers the exporter, else 0.", ("service",))
DURATION = Family(
    "aily_collector_duration_seconds", "How long the last collection took.", ("service",)
)


class _Source:
    """One service, read periodically by a thread of its own."""

    def __init__(self, service: str, queries: Sequence[Query]) -> None:
        self.service = service
        self._queries = queries
        self._found: list[Reading] = []
        self._duration = 0.0
        self._found_until = 0.0

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self._duration = self._read()
            pause = max(SECONDS, self._duration / LOAD_SHARE)

    def _read(self) -> float:
        began = time.monotonic()
        try:
            found = [reading for query in self._queries for reading in query()]
        except Exception as error:  # noqa: BLE001 - any error means that there are no readings
            logger.warning("collecting: %s is unavailable: %r", self.service, error)
            self._found_until = 0.0
            return 0.0
        took = time.monotonic() - began
        pause = max(SECONDS, took / LOAD_SHARE)
        self._found, self._found_until = found, time.monotonic() + STALE_ROUNDS * pause
        return took

    def readings(self) -> list[Reading]:
        """The last readings; of an unavailable service only that it is."""
        is_up = time.monotonic() < self._found_until
        up = Reading(UP, int(is_up), (self.service,))
        if not is_up:
            return [up]
        return [up, Reading(DURATION, self._duration, (self.service,)), *self._found]


class GlobalCollector(Collector):
    """The readings of all services, as one set of metrics."""

    def __init__(self, queries: Mapping[str, Sequence[Query]]) -> None:
        self._sources = [_Source(service, own) for service, own in queries.items()]
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to read; until the first readings all services count as unavailable."""
        for source in self._sources:
            threading.Thread(
                target=source.run, args=[self._stop], name=source.service, daemon=True
            ).start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()

    def collect(self) -> Iterable[Metric]:
        families: dict[Family, GaugeMetricFamily | CounterMetricFamily] = {}
        for source in self._sources:
            for reading in source.readings():
                if reading.family not in families:
                    families[reading.family] = reading.family.metric()
                families[reading.family].add_metric(reading.labels, reading.value)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise a registry collects once to learn the names."""
        return []
