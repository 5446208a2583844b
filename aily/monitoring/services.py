"""Metrics that PostgreSQL and Redis report of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import transaction

from aily.database.rows import R, Row, execute, fetch_rows
from aily.observability.collector import Family, Query, Reading
from aily.redis.clients import probe_client
from aily.redis.sentinel import is_sentinel, service_of

#: Timeouts of the exporter's queries, in milliseconds and seconds.
STATEMENT_MS = 2000
TIMEOUT_SECONDS = 2.0

# --- PostgreSQL ---------------------------------------------------------------------------------
CONNECTIONS = Family(
    "aily_db_connections", "Connections to the database, of all clients.", ("state",)
)
CONNECTIONS_MAX = Family("aily_db_connections_max", "max_connections of the server.")
LOCK_WAITS = Family("aily_db_lock_waits", "Sessions that wait for a lock.")
LONGEST_TRANSACTION = Family(
    "aily_db_longest_transaction_seconds", "Age of the oldest open transaction."
)
DEADLOCKS = Family("aily_db_deadlocks_total", "Deadlocks in the database.")
DATABASE_SIZE = Family("aily_db_size_bytes", "Size of the database.")

_ACTIVITY = """
SELECT CASE WHEN state = 'active' THEN 'active' WHEN state = 'idle' THEN 'idle'
            WHEN state LIKE 'idle in transaction%%' THEN 'idle_in_transaction' ELSE 'other' END
         AS state_group,
       count(*) AS sessions, count(*) FILTER (WHERE wait_event_type = 'Lock') AS lock_waits,
       coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float AS transaction_seconds
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1
"""
_DATABASE = """
SELECT deadlocks, pg_database_size(datname) AS size_bytes,
       current_setting('max_connections')::int AS max_connections
  FROM pg_stat_database WHERE datname = current_database()
"""
_STATES = ("active", "idle", "idle_in_transaction", "other")


class _Sessions(Row, frozen=True):
    """The sessions of one state."""

    state_group: str
    sessions: int
    lock_waits: int
    transaction_seconds: float


class _Database(Row, frozen=True):
    deadlocks: int
    size_bytes: int
    max_connections: int


def query(row: type[R], sql: str) -> list[R]:
    """Run one short statement; PostgreSQL cancels it after STATEMENT_MS. Raises django.db.Error."""
    with transaction.atomic():
        execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_MS)])
        return fetch_rows(row, sql)


def read_database() -> Iterator[Reading]:
    """Raises django.db.Error."""
    groups = query(_Sessions, _ACTIVITY)
    sessions = {group.state_group: group.sessions for group in groups}
    for state in _STATES:
        yield Reading(CONNECTIONS, sessions.get(state, 0), (state,))
    yield Reading(LOCK_WAITS, sum(group.lock_waits for group in groups))
    seconds = [group.transaction_seconds for group in groups]
    yield Reading(LONGEST_TRANSACTION, max(seconds, default=0.0))
    [database] = query(_Database, _DATABASE)
    yield Reading(DEADLOCKS, database.deadlocks)
    yield Reading(DATABASE_SIZE, database.size_bytes)
    yield Reading(CONNECTIONS_MAX, database.max_connections)


# --- Redis --------------------------------------------------------------------------------------
#: Families by the name that INFO gives each value.
INFO = {
    "used_memory": Family("aily_redis_memory_used_bytes", "Memory in use.", ("service",)),
    "maxmemory": Family("aily_redis_memory_max_bytes", "maxmemory; 0: no limit.", ("service",)),
    "connected_clients": Family("aily_redis_connected_clients", "Connections.", ("service",)),
    "maxclients": Family("aily_redis_clients_max", "Connections allowed.", ("service",)),
    "keyspace_hits": Family("aily_redis_keyspace_hits_total", "Keys found.", ("service",)),
    "keyspace_misses": Family("aily_redis_keyspace_misses_total", "Keys missed.", ("service",)),
    "evicted_keys": Family("aily_redis_evicted_keys_total", "Keys evicted.", ("service",)),
    "rejected_connections": Family(
        "aily_redis_rejected_connections_total", "Connections over the limit.", ("service",)
    ),
    "total_commands_processed": Family(
        "aily_redis_commands_processed_total", "Commands.", ("service",)
    ),
}


def redis_services() -> dict[str, str]:
    """URLs of the Redis servers by the first role of each: redis, broker, cache, rates, layer."""
    urls = {
        "redis": settings.REDIS_URL,
        "broker": settings.DRAMATIQ_REDIS_URL,
        "cache": settings.CACHE_URL,
        "rates": settings.RATES_REDIS_URL,
        "layer": settings.LAYER_REDIS_URL,
    }
    by_server: dict[str, str] = {}
    for role, url in urls.items():
        by_server.setdefault(_server_of(url), role)
    return {role: urls[role] for role in by_server.values()}


def _server_of(url: str) -> str:
    """The same for all databases of a server."""
    if is_sentinel(url):
        return service_of(url)
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]


def client(url: str) -> redis.Redis:
    """A client with short timeouts."""
    return probe_client(url, TIMEOUT_SECONDS)


def redis_query(service: str, url: str) -> Query:
    """A query of INFO. Calling it raises redis.RedisError."""
    server = client(url)

    def read() -> Iterator[Reading]:
        # redis-py types the sync and the async client's replies as one union.
        info = cast("Mapping[str, float]", server.info())
        for name, family in INFO.items():
            yield Reading(family, float(info.get(name, 0)), (service,))

    return read
