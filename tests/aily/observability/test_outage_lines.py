"""The log during an outage: one line when a server goes away, and one when it is back."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import psycopg
import pytest
import redis
from django.db import OperationalError

from aily.concurrency.circuit_breaker import CircuitBreaker
from aily.concurrency.faults import surviving
from aily.observability.logs import configuration
from aily.observability.outage_lines import OutageLines
from aily.redis.errors import RedisBusyError


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the handler of a process would write."""
    written: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    handler = Lines()
    handler.addFilter(OutageLines())
    root = logging.getLogger()
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)


def fail_in_every_way(error: Exception) -> None:
    logger = logging.getLogger("chat.runner.runtime")
    logger.warning("claiming: a server is away (%s)", error)
    with surviving("claiming"):
        raise error
    with surviving("settling"):
        raise RuntimeError("it could not be settled") from error
    logging.getLogger("apscheduler.executors.default").error("Job raised an exception")
    logging.getLogger("dramatiq.worker.ConsumerThread(aily)").critical("Consumer encountered ...")
    logging.getLogger("django.request").error(
        "Service Unavailable: /api", extra={"status_code": 503}
    )


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("gone"),
        redis.TimeoutError("late"),
        RedisBusyError("busy"),
        psycopg.OperationalError("gone"),
        OperationalError("gone"),
    ],
)
def test_an_outage_is_one_line_and_its_end_another(error: Exception, lines: list[str]) -> None:
    circuit = CircuitBreaker("Redis of this test")
    circuit.record_failure()
    for _ in range(12):
        fail_in_every_way(error)
        circuit.record_failure()
    circuit.record_success()

    assert lines == ["Redis of this test does not answer", "Redis of this test answers again"]


def test_other_faults_are_logged_during_an_outage_as_well(lines: list[str]) -> None:
    circuit = CircuitBreaker("Redis of this test")
    circuit.record_failure()
    with surviving("claiming"):
        raise ValueError("a mistake")
    logging.getLogger("django.request").error("Error: /api", extra={"status_code": 500})
    circuit.record_success()

    assert "claiming: unexpected exception" in lines
    assert "Error: /api" in lines


def test_without_an_outage_every_line_is_written(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests may have left a server that is away.
    monkeypatch.setattr("aily.observability.outage_lines._away", set())
    monkeypatch.setattr("aily.observability.outage_lines._ended_at", -1000.0)
    fail_in_every_way(redis.ConnectionError("a single connection broke"))
    assert len(lines) == 6


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_handlers_of_every_process_have_the_filter(kind: str) -> None:
    made = configuration("INFO", kind)
    assert made["handlers"]["console"]["filters"][0] == "outages"
    assert made["filters"]["outages"]["()"] is OutageLines
