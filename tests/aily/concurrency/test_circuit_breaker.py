"""A circuit breaker: after a failure one caller at a time probes whether the server is back."""

from __future__ import annotations

import logging
import time

import pytest

from aily.concurrency import circuit_breaker as circuits
from aily.concurrency.circuit_breaker import CircuitBreaker, breaker_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_while_the_server_answers_every_caller_is_let_through() -> None:
    circuit = CircuitBreaker("server")
    assert not circuit.is_open
    assert [circuit.allows_call() for _ in range(3)] == [True] * 3


def test_after_a_failure_one_caller_a_second_is_let_through(clock: list[float]) -> None:
    circuit = CircuitBreaker("server")
    circuit.record_failure()
    assert circuit.is_open
    # A single broken connection: the next caller finds out at once.
    assert [circuit.allows_call() for _ in range(3)] == [True, False, False]
    circuit.record_failure()
    assert not circuit.allows_call()
    clock[0] += circuits.PROBE_EVERY_SECONDS
    assert [circuit.allows_call() for _ in range(2)] == [True, False]


def test_a_caller_that_never_reports_does_not_keep_the_circuit_open(clock: list[float]) -> None:
    circuit = CircuitBreaker("server")
    circuit.record_failure()
    assert circuit.allows_call()
    clock[0] += circuits.PROBE_EVERY_SECONDS
    assert circuit.allows_call()
    circuit.record_success()
    assert not circuit.is_open
    assert [circuit.allows_call() for _ in range(2)] == [True, True]


def test_an_outage_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    circuit = CircuitBreaker("PostgreSQL")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            circuit.record_failure()
        circuit.record_success()
        circuit.record_success()
    assert circuit.outages == 1
    assert caplog.messages == ["PostgreSQL does not answer", "PostgreSQL answers again"]
    circuit.record_failure()
    assert circuit.outages == 2


def test_a_server_has_one_circuit_in_a_process() -> None:
    assert breaker_of("one server") is breaker_of("one server")
    assert breaker_of("one server") is not breaker_of("another server")
