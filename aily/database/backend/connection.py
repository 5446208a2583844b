"""Connections on which no answer is awaited for ever.

A network that swallows packets breaks no connection: libpq would wait for as long as TCP does, and
where something on the way still acknowledges, for ever.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import psycopg

from aily.concurrency.circuit import Circuit


class PoolBusyError(psycopg.OperationalError):
    """No connection was free in time. The server is not away: others of this process go on."""


class BoundedConnection(psycopg.Connection[Any]):
    """Gives up, and is closed, when an answer takes longer than `answer_seconds`."""

    #: None: waits for ever.
    answer_seconds: ClassVar[float | None] = None
    #: The process's, of the server it leads to.
    circuit: ClassVar[Circuit] = Circuit("PostgreSQL")

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        limit = timeout or self.answer_seconds
        try:
            answer = super().wait(gen, interval, limit)
            # Not on the class: each write to one empties the interpreter's caches of its methods.
            self.circuit.answered_at = time.monotonic()
            return answer
        except psycopg.OperationalError as error:
            timed_out = isinstance(error, psycopg.errors._WaitTimeout)  # noqa: SLF001 - its only name
            if timed_out:
                # Nobody knows what the server is doing with it.
                self.close()
            if self.closed:
                self.circuit.failed()
            if timed_out:
                message = f"no answer from the database within {limit:g} s"
                raise psycopg.OperationalError(message) from None
            raise


class ReplicaConnection(BoundedConnection):
    """To a replica, whose outage is not the primary's."""

    circuit = Circuit("PostgreSQL replica")
