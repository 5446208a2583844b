"""Connections that wait for an answer for a bounded time.

If the network drops packets, the connection does not break: libpq would wait as long as TCP does,
and for ever if a proxy on the way still acknowledges.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar, TypeVar

import psycopg
from psycopg.abc import PQGen

from aily.concurrency.circuit_breaker import CircuitBreaker

T = TypeVar("T")


class PoolBusyError(psycopg.OperationalError):
    """No connection was free in time. The server is not away: other connections are in use."""


class BoundedConnection(psycopg.Connection[Any]):
    """Raises, and is closed, when an answer takes longer than `answer_seconds`."""

    #: None: no bound.
    answer_seconds: ClassVar[float | None] = None
    #: How long the server may take to accept a first connection; None: as long as the pool waits.
    probe_seconds: ClassVar[float | None] = None
    #: When its session last dropped the plans of prepared statements (monotonic). None: it has
    #: prepared none.
    planned_at: float | None = None
    #: Shared by all connections of the process to this server.
    circuit: ClassVar[CircuitBreaker] = CircuitBreaker("PostgreSQL")

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        limit = timeout or self.answer_seconds
        began = time.monotonic()
        try:
            answer = super().wait(gen, interval, limit)
            # Not on the class: a write to a class empties the interpreter's caches of its methods.
            self.circuit.answered_at = time.monotonic()
            return answer
        except psycopg.OperationalError:
            # psycopg's class for it has a private name only.
            timed_out = limit is not None and time.monotonic() - began >= limit
            if timed_out:
                # The server may still run the statement: the connection cannot be used again.
                self.close()
            if self.closed:
                self.circuit.record_failure()
            if timed_out:
                message = f"no answer from the database within {limit:g} s"
                raise psycopg.OperationalError(message) from None
            raise


class ReplicaConnection(BoundedConnection):
    """A connection to a replica, with a circuit breaker of its own."""

    circuit = CircuitBreaker("PostgreSQL replica")
