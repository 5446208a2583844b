"""Reading from a replica: lists, history, reports and the admin's pages, and nothing else.

Whoever may read there says so (`may_read_replica`); all else, whatever is in a transaction, and
users, sessions and grants are read from the primary. Two things make the replica good enough:

- It is at most DATABASE_REPLICA_MAX_LAG_SECONDS behind. A thread asks the primary twice a second
  how far its log goes, and the replica how far it has replayed it; clocks play no part.
- Whoever wrote something reads from the primary for longer than that. Redis knows of it, so it
  holds for all processes, API keys and sessions. Without Redis everybody reads from the primary.
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
from typing import Any, TypeVar, cast

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connections

from aily.concurrency.faults import note_fault
from aily.redis.clients import RedisAway, async_redis, sync_redis

logger = logging.getLogger(__name__)

ALIAS = "replica"
#: Apps whose rows may be read there. What decides about access is not among them.
APPS = {"chat", "auditlog"}
#: Seconds between two looks at how far the replica is.
LOOK_SECONDS = 0.5
#: A process that has just told Redis of a user's write need not say so again.
TOLD_SECONDS = 1.0
#: Users remembered for that; then all are forgotten.
MAX_TOLD = 10_000

_PRIMARY_LSN = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
# No row from a server that is no replica, or has become the primary.
_REPLAYED_LSN = """
SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint WHERE pg_is_in_recovery()
"""

R = TypeVar("R")
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_is_allowed: ContextVar[bool] = ContextVar("may_read_replica", default=False)


class ReplicaRouter:
    """Django's database router. It always says which: by itself Django would go by where an object
    was read."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        may = _is_allowed.get() and model._meta.app_label in APPS  # noqa: SLF001 - documented
        return ALIAS if may and not connections[DEFAULT_DB_ALIAS].in_atomic_block else "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == DEFAULT_DB_ALIAS


def is_configured() -> bool:
    return ALIAS in settings.DATABASES


# --- How old the replica is ---------------------------------------------------------------------
class Watch:
    """Looks from a thread, so that no request ever waits for a replica that does not answer."""

    def __init__(self, max_lag_seconds: float) -> None:
        self._max_lag = max_lag_seconds
        #: Where the primary's log ended, and when that was asked (time.monotonic).
        self._ends: deque[tuple[int, float]] = deque()
        self._fresh_until = 0.0
        self._was_fresh = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="replica-watch", daemon=True).start()

    def is_fresh(self) -> bool:
        """Whether the replica has all that was committed `max_lag_seconds` ago."""
        return time.monotonic() < self._fresh_until

    def distrust(self) -> None:
        """Until the next look: it did not answer somebody."""
        self._fresh_until = 0.0

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except DatabaseError as error:
                logger.debug("the replica cannot be judged: %s", error)
            except Exception:  # noqa: BLE001 - logged
                note_fault("replica")
            self._tell()
            time.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        asked_at = time.monotonic()
        end = _ask(DEFAULT_DB_ALIAS, _PRIMARY_LSN)
        if end is not None:
            self._ends.append((end, asked_at))
        while self._ends and self._ends[0][1] < asked_at - self._max_lag:
            self._ends.popleft()
        replayed = _ask(ALIAS, _REPLAYED_LSN)
        reached = [at for end, at in self._ends if replayed is not None and end <= replayed]
        if reached:
            self._fresh_until = max(reached) + self._max_lag

    def _tell(self) -> None:
        is_fresh = self.is_fresh()
        if is_fresh != self._was_fresh:
            logger.warning("the replica is %s", "read" if is_fresh else "away or late: not read")
        self._was_fresh = is_fresh


def _ask(alias: str, sql: str) -> int | None:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
    finally:
        connections[alias].close()
    return int(row[0]) if row and row[0] is not None else None


@cache
def _watch() -> Watch:
    """The process's; its thread begins with the first read that it is asked about."""
    watch = Watch(settings.DATABASE_REPLICA_MAX_LAG_SECONDS)
    watch.start()
    return watch


# --- Who has just written -----------------------------------------------------------------------
_told: dict[int, float] = {}


def _key(user_id: int) -> str:
    return f"aily:wrote:{user_id}"


def _pin_milliseconds() -> int:
    return int((settings.DATABASE_REPLICA_MAX_LAG_SECONDS + TOLD_SECONDS) * 1000)


def _is_told(user_id: int) -> bool:
    return time.monotonic() < _told.get(user_id, 0)


def _remember(user_id: int, told_at: float) -> None:
    if len(_told) > MAX_TOLD:
        _told.clear()
    _told[user_id] = told_at + TOLD_SECONDS


def note_write(user_id: int) -> None:
    """Have a user's reads go to the primary for a while. Call it once a write is committed."""
    if not is_configured() or _is_told(user_id):
        return
    now = time.monotonic()
    try:
        sync_redis().set(_key(user_id), 1, px=_pin_milliseconds())
    except RedisAway as error:
        logger.warning("a write could not be noted: %s", error)
    else:
        _remember(user_id, now)


async def anote_write(user_id: int) -> None:
    """`note_write`, on an event loop."""
    if not is_configured() or _is_told(user_id):
        return
    now = time.monotonic()
    try:
        await async_redis().set(_key(user_id), 1, px=_pin_milliseconds())
    except RedisAway as error:
        logger.warning("a write could not be noted: %s", error)
    else:
        _remember(user_id, now)


def _has_written(user_id: int) -> bool:
    try:
        return bool(sync_redis().exists(_key(user_id)))
    except RedisAway:
        return True


# --- Reading ------------------------------------------------------------------------------------
def read_for(user_id: int, read: Callable[[], R]) -> R:
    """`read()`, from the replica where that will do. It must change nothing: when the replica fails
    on the way it is done again, from the primary."""
    if is_configured() and _watch().is_fresh() and not _has_written(user_id):
        try:
            with _allowed():
                return read()
        except (OperationalError, InterfaceError) as error:
            logger.warning("reading from the primary, as the replica failed: %s", error)
            _watch().distrust()
    return read()


@contextmanager
def _allowed() -> Iterator[None]:
    token = _is_allowed.set(True)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def may_read_replica(endpoint: Endpoint) -> Endpoint:
    """Let a REST endpoint that only reads do so from the replica. Its rows must be loaded when it
    returns, as `aily.rest.pages.Page` does."""

    @wraps(endpoint)
    def read(request: Any, *args: Any, **kwargs: Any) -> Any:
        return read_for(request.auth.user.pk, partial(endpoint, request, *args, **kwargs))

    return cast("Endpoint", read)
