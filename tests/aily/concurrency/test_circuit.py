"""A circuit: after a failure one caller at a time finds out whether the server is back."""

from __future__ import annotations

import logging
import time

import pytest

from aily.concurrency import circuit as circuits
from aily.concurrency.circuit import Circuit, circuit_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_while_the_server_answers_every_caller_is_let_through() -> None:
    circuit = Circuit("server")
    assert not circuit.is_open
    assert [circuit.lets_through() for _ in range(3)] == [True] * 3


def test_after_a_failure_one_caller_a_second_is_let_through(clock: list[float]) -> None:
    circuit = Circuit("server")
    circuit.failed()
    assert circuit.is_open
    # A single broken connection: the next caller finds out at once.
    assert [circuit.lets_through() for _ in range(3)] == [True, False, False]
    circuit.failed()
    assert not circuit.lets_through()
    clock[0] += circuits.PROBE_EVERY_SECONDS
    assert [circuit.lets_through() for _ in range(2)] == [True, False]


def test_a_caller_that_never_reports_does_not_keep_the_circuit_open(clock: list[float]) -> None:
    circuit = Circuit("server")
    circuit.failed()
    assert circuit.lets_through()
    clock[0] += circuits.PROBE_EVERY_SECONDS
    assert circuit.lets_through()
    circuit.succeeded()
    assert not circuit.is_open
    assert [circuit.lets_through() for _ in range(2)] == [True, True]


def test_an_outage_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    circuit = Circuit("PostgreSQL")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            circuit.failed()
        circuit.succeeded()
        circuit.succeeded()
    assert circuit.outages == 1
    assert caplog.messages == ["PostgreSQL does not answer", "PostgreSQL answers again"]
    circuit.failed()
    assert circuit.outages == 2


def test_a_server_has_one_circuit_in_a_process() -> None:
    assert circuit_of("one server") is circuit_of("one server")
    assert circuit_of("one server") is not circuit_of("another server")
