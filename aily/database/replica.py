"""Reading from a replica: lists, history, reports and the admin's pages, and nothing else.

An endpoint opts in by `may_read_replica`. All other code, transactions, and queries for users,
sessions and grants read from the primary. Two rules keep the replica's rows fresh enough:

- It is at most DATABASE_REPLICA_MAX_LAG_SECONDS behind. Twice a second a thread reads the end of
  the primary's log and the position that the replica has replayed; clocks are not compared.
- A user who has written something reads from the primary for longer than that. It is noted in
  Redis, for all processes, API keys and sessions. Without Redis all reads go to the primary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connections
from django.db.models import Model

from aily.concurrency.faults import note_fault
from aily.database import keys
from aily.redis.clients import async_redis, sync_redis
from aily.redis.errors import RedisUnavailable

logger = logging.getLogger(__name__)

ALIAS = "replica"
#: Apps whose rows may be read from the replica. Rows that decide about access are not.
APPS = {"chat", "tables", "auditlog"}
#: Seconds between two measurements of the replica's lag.
MEASURE_SECONDS = 0.5
#: A process notes the writes of a user in Redis at most once in so many seconds.
NOTED_SECONDS = 1.0
#: Users remembered for that; beyond it all are forgotten.
MAX_NOTED = 10_000

_PRIMARY_LSN = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
# No row if the server is no replica, or has become the primary.
_REPLAYED_LSN = """
SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint WHERE pg_is_in_recovery()
"""


class _AuthenticatedRequest(Protocol):
    @property
    def auth(self) -> Any: ...


P = ParamSpec("P")
R = TypeVar("R")
Request = TypeVar("Request", bound=_AuthenticatedRequest)
_is_allowed: ContextVar[bool] = ContextVar("may_read_replica", default=False)


class ReplicaRouter:
    """Django's database router. It always names a database: otherwise Django would use the one that
    an object was read from."""

    def db_for_read(self, model: type[Model], **hints: object) -> str:
        may_read = _is_allowed.get() and model._meta.app_label in APPS  # noqa: SLF001 - documented
        return (
            ALIAS if may_read and not connections[DEFAULT_DB_ALIAS].in_atomic_block else "default"
        )

    def db_for_write(self, model: type[Model], **hints: object) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, first: Model, second: Model, **hints: object) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db == DEFAULT_DB_ALIAS


def is_configured() -> bool:
    return ALIAS in settings.DATABASES


# --- Lag ----------------------------------------------------------------------------------------
class LagMonitor:
    """Measures the replica's lag on a thread, so that no request waits for a silent replica."""

    def __init__(self, max_lag_seconds: float) -> None:
        self._max_lag = max_lag_seconds
        #: End of the primary's log, and when it was read (time.monotonic).
        self._ends: deque[tuple[int, float]] = deque()
        self._fresh_until = 0.0
        self._was_fresh = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="replica-watch", daemon=True).start()

    def is_fresh(self) -> bool:
        """Whether the replica has all that was committed `max_lag_seconds` ago."""
        return time.monotonic() < self._fresh_until

    def distrust(self) -> None:
        """Read from the primary until the next measurement, as the replica has failed."""
        self._fresh_until = 0.0

    def _run(self) -> None:
        while True:
            try:
                self._measure()
            except DatabaseError as error:
                logger.debug("the replica's lag cannot be measured: %s", error)
            except Exception:  # noqa: BLE001 - logged
                note_fault("replica")
            self._log_change()
            time.sleep(MEASURE_SECONDS)

    def _measure(self) -> None:
        measured_at = time.monotonic()
        end = _read_position(DEFAULT_DB_ALIAS, _PRIMARY_LSN)
        if end is not None:
            self._ends.append((end, measured_at))
        while self._ends and self._ends[0][1] < measured_at - self._max_lag:
            self._ends.popleft()
        replayed = _read_position(ALIAS, _REPLAYED_LSN)
        reached = [at for end, at in self._ends if replayed is not None and end <= replayed]
        if reached:
            self._fresh_until = max(reached) + self._max_lag

    def _log_change(self) -> None:
        is_fresh = self.is_fresh()
        if is_fresh != self._was_fresh:
            logger.warning("the replica is %s", "read" if is_fresh else "away or late: not read")
        self._was_fresh = is_fresh


def _read_position(alias: str, sql: str) -> int | None:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
    finally:
        connections[alias].close()
    return int(row[0]) if row and row[0] is not None else None


@cache
def _lag_monitor() -> LagMonitor:
    """The monitor of this process; its thread starts with the first call."""
    monitor = LagMonitor(settings.DATABASE_REPLICA_MAX_LAG_SECONDS)
    monitor.start()
    return monitor


# --- Noting writes ------------------------------------------------------------------------------
_noted: dict[int, float] = {}


def _expiry_milliseconds() -> int:
    return int((settings.DATABASE_REPLICA_MAX_LAG_SECONDS + NOTED_SECONDS) * 1000)


def _is_noted(user_id: int) -> bool:
    return time.monotonic() < _noted.get(user_id, 0)


def _remember(user_id: int, noted_at: float) -> None:
    if len(_noted) > MAX_NOTED:
        _noted.clear()
    _noted[user_id] = noted_at + NOTED_SECONDS


def note_write(user_id: int) -> None:
    """Send a user's reads to the primary for a while. Call it after a write is committed."""
    if not is_configured() or _is_noted(user_id):
        return
    now = time.monotonic()
    try:
        sync_redis().set(keys.wrote(user_id), 1, px=_expiry_milliseconds())
    except RedisUnavailable as error:
        logger.warning("a write could not be noted: %s", error)
    else:
        _remember(user_id, now)


async def anote_write(user_id: int) -> None:
    """`note_write` on an event loop."""
    if not is_configured() or _is_noted(user_id):
        return
    now = time.monotonic()
    try:
        await async_redis().set(keys.wrote(user_id), 1, px=_expiry_milliseconds())
    except RedisUnavailable as error:
        logger.warning("a write could not be noted: %s", error)
    else:
        _remember(user_id, now)


def _has_written(user_id: int) -> bool:
    try:
        return bool(sync_redis().exists(keys.wrote(user_id)))
    except RedisUnavailable:
        return True


# --- Reading ------------------------------------------------------------------------------------
def read_for(user_id: int, read: Callable[[], R]) -> R:
    """Call `read`, with the replica if its rows are fresh enough. `read` must not write: if the
    replica fails, it is called again with the primary."""
    if is_configured() and _lag_monitor().is_fresh() and not _has_written(user_id):
        try:
            with _allowed():
                return read()
        except (OperationalError, InterfaceError) as error:
            logger.warning("reading from the primary, as the replica failed: %s", error)
            _lag_monitor().distrust()
    return read()


@contextmanager
def _allowed() -> Iterator[None]:
    token = _is_allowed.set(True)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def may_read_replica(
    endpoint: Callable[Concatenate[Request, P], R],
) -> Callable[Concatenate[Request, P], R]:
    """Let a REST endpoint that only reads use the replica. It must load its rows before it returns,
    as `aily.rest.pages.Page` does."""

    @wraps(endpoint)
    def read(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> R:
        user_id: int = request.auth.user.pk
        return read_for(user_id, partial(endpoint, request, *args, **kwargs))

    return read
