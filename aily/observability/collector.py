"""Gauges that take a question to PostgreSQL or Redis: asked by one process, in the background.

A scrape gets what was found last and never waits, however many scrape and whatever is away.
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

#: Pause between two collections, or more: it takes a twentieth of the time at the most.
SECONDS = 5.0
LOAD_SHARE = 0.05
#: What was found longer ago, times the usual pause, is not told any more.
STALE_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Family:
    """One global metric: its name, what it says, and its labels. Counters end in `_total`."""

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


#: Asks one service. Raises whatever it likes when that is away.
Question = Callable[[], Iterable[Reading]]

UP = Family("aily_up", "1 while the service answers the exporter, else 0.", ("service",))
DURATION = Family(
    "aily_collector_duration_seconds", "How long the last collection took.", ("service",)
)


class _Source:
    """One service, asked again and again by a thread of its own."""

    def __init__(self, service: str, questions: Sequence[Question]) -> None:
        self.service = service
        self._questions = questions
        self._found: list[Reading] = []
        self._duration = 0.0
        self._found_until = 0.0

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self._duration = self._ask()
            pause = max(SECONDS, self._duration / LOAD_SHARE)

    def _ask(self) -> float:
        began = time.monotonic()
        try:
            found = [reading for question in self._questions for reading in question()]
        except Exception as error:  # noqa: BLE001 - whatever it is, there is nothing to tell
            logger.warning("collecting: %s is away: %r", self.service, error)
            self._found_until = 0.0
            return 0.0
        took = time.monotonic() - began
        pause = max(SECONDS, took / LOAD_SHARE)
        self._found, self._found_until = found, time.monotonic() + STALE_ROUNDS * pause
        return took

    def readings(self) -> list[Reading]:
        """What was found last; of a service that is away, or does not answer, only that."""
        is_up = time.monotonic() < self._found_until
        up = Reading(UP, int(is_up), (self.service,))
        if not is_up:
            return [up]
        return [up, Reading(DURATION, self._duration, (self.service,)), *self._found]


class GlobalCollector(Collector):
    """What the services say, as one set of metrics."""

    def __init__(self, questions: Mapping[str, Sequence[Question]]) -> None:
        self._sources = [_Source(service, own) for service, own in questions.items()]
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to ask; until the first answers everything counts as away."""
        for source in self._sources:
            threading.Thread(
                target=source.run, args=[self._stop], name=source.service, daemon=True
            ).start()

    def stop(self) -> None:
        """Ask no more."""
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
        """Nothing: a registry would otherwise collect to find the names out."""
        return []
