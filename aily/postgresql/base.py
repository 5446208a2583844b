"""The backend: Django's own, whose connections are guarded by a circuit (aily/circuit.py)."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

from aily.circuit import Circuit


class DatabaseWrapper(base.DatabaseWrapper):
    """While the database is known to be away, a unit of work fails at once instead of waiting."""

    @property
    def _circuit(self) -> Circuit:
        circuit: Circuit = self.settings_dict["OPTIONS"]["pool"]["connection_class"].circuit
        return circuit

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        circuit = self._circuit
        if not circuit.lets_through():
            raise psycopg.OperationalError("the database is away")
        was_open = circuit.is_open
        try:
            connection = super().get_new_connection(conn_params)
            if was_open:
                self._check(connection)
        except psycopg.OperationalError:
            circuit.failed()
            raise
        circuit.succeeded()
        return connection

    def _check(self, connection: Any) -> None:
        """A connection out of the pool may be from before the outage."""
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            if self.pool is not None:
                self.pool.putconn(connection)
            raise
