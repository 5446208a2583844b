"""Django's PostgreSQL backend, with a circuit breaker (aily/concurrency/circuit_breaker.py)."""

from __future__ import annotations

import time
from collections import Counter
from threading import Lock
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from aily.database.backend.connection import BoundedConnection, PoolBusyError
from aily.database.backend.probe import probe

#: How old the plan of a prepared statement may be, in seconds. It goes by the size that the tables
#: had then: one that was made for an empty table reads all of it, row by row.
PLAN_SECONDS = 10.0
#: Prepared statements that a session keeps, a few for the types of each one's parameters.
MAX_PREPARED = 30
#: Connections that each pool of this process has given out, by its alias.
_given_out: Counter[str] = Counter()
_lock = Lock()


class PreparingCursor(psycopg.Cursor[Any]):
    """Prepares its statements, and only its own.

    While `prepare_threshold` is a number, psycopg keeps the texts of all statements, to count them.
    Those of Django's cursors hold their values, up to megabytes each.
    """

    def execute(self, *args: Any, **options: Any) -> Self:
        self.connection.prepare_threshold = 0
        try:
            return super().execute(*args, **options)
        finally:
            self.connection.prepare_threshold = None


class DatabaseWrapper(base.DatabaseWrapper):
    """Opens connections through the circuit breaker: while it is open, work fails at once.

    If all connections of the pool are in use, the breaker is not touched: other work of this
    process shows whether the server answers.
    """

    #: The next cursor prepares its statements.
    _is_preparing = False

    @property
    def _kind(self) -> type[BoundedConnection]:
        kind: type[BoundedConnection] = self.settings_dict["OPTIONS"]["pool"]["connection_class"]
        return kind

    def get_new_connection(self, conn_params: dict[str, object]) -> BoundedConnection:
        circuit = self._kind.circuit
        if not circuit.allows_call():
            raise psycopg.OperationalError("the database is away")
        if self._kind.probe_seconds and not circuit.answered_at:
            probe(conn_params, self._kind.probe_seconds)
        was_open, began = circuit.is_open, time.monotonic()
        try:
            connection: BoundedConnection = super().get_new_connection(conn_params)
            if was_open:
                self._check(connection)
        except psycopg.OperationalError as error:
            if self._is_busy(error, began):
                raise PoolBusyError("all database connections of this process are in use") from None
            circuit.record_failure()
            raise
        circuit.record_success()
        with _lock:
            _given_out[self.alias] += 1
        return connection

    def _is_busy(self, error: psycopg.OperationalError, began: float) -> bool:
        """Whether the pool had no free connection, although the server is not away.

        True as well if the server refuses more connections but answers on existing ones.
        """
        if isinstance(error, TooManyRequests):
            return True
        if not isinstance(error, PoolTimeout) or self.pool is None:
            return False
        if _given_out[self.alias] >= self.pool.max_size:
            return True
        return self._kind.circuit.answered_at > began

    def prepared_cursor(self) -> CursorWrapper:
        """A cursor whose statements the server parses and plans once a connection, where settings
        allow it. Parameters are bound by the server, which must know their types.

        While Django logs queries with their parameters nothing is prepared: it reads them from what
        is sent.
        """
        may_prepare: bool = settings.DATABASE_PREPARED_STATEMENTS
        self._is_preparing = may_prepare and not self.queries_logged
        try:
            cursor: CursorWrapper = self.cursor()
            if self._is_preparing:
                with self.wrap_database_errors:
                    _plan_anew(self.connection)
        finally:
            self._is_preparing = False
        return cursor

    def create_cursor(self, name: str | None = None) -> psycopg.Cursor[Any]:
        if self._is_preparing and name is None:
            return PreparingCursor(self.connection)
        cursor: psycopg.Cursor[Any] = super().create_cursor(name)
        return cursor

    def close(self) -> None:
        gives_back = self.connection is not None and not self.closed_in_transaction
        try:
            super().close()
        finally:
            if gives_back:
                with _lock:
                    _given_out[self.alias] -= 1

    def _check(self, connection: BoundedConnection) -> None:
        """Check a connection of the pool, which may be from before the outage."""
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            if self.pool is not None:
                self.pool.putconn(connection)
            raise


def _plan_anew(connection: BoundedConnection) -> None:
    """Have the session forget its plans, from time to time."""
    now = time.monotonic()
    if connection.planned_at is None:
        connection.prepared_max = MAX_PREPARED
    elif now - connection.planned_at < PLAN_SECONDS:
        return
    else:
        connection.execute("DISCARD PLANS")
    connection.planned_at = now
