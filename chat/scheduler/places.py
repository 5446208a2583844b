"""The place of a queued task: its position, when it may start, what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, cast

from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.client import Pipeline

from aily.redis.clients import async_redis, sync_redis
from chat.events import WaitingFor
from chat.scheduler.keys import pool_keys

#: ring, now, the fields of `stats` below, and a rank a task
EnqueueReply = tuple[int, bytes, *tuple[bytes | int, ...]]
_FIELDS = ["seconds", "in_use", "cap", "blocked_by", "blocked_until"]


@dataclass(frozen=True, slots=True)
class Place:
    """Position in the queue, from 1, and seconds until the task starts (None: unknown).

    `position` is None where the task waits for its next attempt: it is not in the queue before.
    """

    position: int | None
    eta_seconds: float | None
    waiting_for: WaitingFor | None = None

    @classmethod
    def of_retry(cls, not_before: datetime | None) -> Place | None:
        """The place of a task that waits for its next attempt; None if it does not."""
        left = (not_before - datetime.now(UTC)).total_seconds() if not_before else 0.0
        return cls(None, round(left, 1), WaitingFor("retry", not_before)) if left > 0 else None


class _Stats(NamedTuple):
    """`stats` of a pool, as of its last claim or failure (chat/scheduler/lua/claim.lua)."""

    seconds: bytes | None
    in_use: bytes | None
    cap: bytes | None
    blocked_by: bytes | None
    blocked_until: bytes | None

    def place(self, position: int, now: float) -> Place:
        """The place of the task that is at `position`; `now` is Redis' time."""
        blocked = self.blocked(position, now)
        return blocked or Place(position, self._eta(position, int(self.in_use or 0)))

    def blocked(self, position: int | None, now: float) -> Place | None:
        """The place of a task while a pause or a breaker blocks the pool; None while none does."""
        if not self._is_blocked(now):
            return None
        kind = (self.blocked_by or b"").decode()
        if not self.blocked_until:
            # A probe runs: it decides when the block ends.
            return Place(position, None, WaitingFor(kind, None))
        until = float(self.blocked_until)
        # Then there is room for as many as the pool allows.
        cap = int(self.cap or 0)
        after_seconds = 0.0
        if position is not None and position > cap > 0:
            after_seconds = self._eta(position, cap) or 0.0
        waiting_for = WaitingFor(kind, datetime.fromtimestamp(round(until, 3), UTC))
        return Place(position, round(until - now + after_seconds, 1), waiting_for)

    def _is_blocked(self, now: float) -> bool:
        return bool(self.blocked_by) and (not self.blocked_until or float(self.blocked_until) > now)

    def _eta(self, position: int, in_use: int) -> float | None:
        """Position divided by the rate at which calls end; zero while there is room."""
        if not self.cap or in_use + position <= int(self.cap):
            return 0.0
        if not self.seconds:
            return None
        return round(position * float(self.seconds) / max(in_use, 1), 1)


def places_of_reply(reply: EnqueueReply) -> tuple[list[Place], bool]:
    """Parse enqueue.lua's reply: the tasks' places, and whether the doorbell must be rung."""
    ring, now, *rest = reply
    stats = _Stats(*cast("list[bytes]", rest[: len(_FIELDS)]))
    ranks = cast("list[int]", rest[len(_FIELDS) :])
    return [stats.place(rank + 1, float(now)) for rank in ranks], bool(ring)


def later(place: Place | None, retry: Place | None) -> Place | None:
    """The later of two places: what its pool makes a task wait for, and its next attempt."""
    if place is None or retry is None:
        return place or retry
    is_longer = place.eta_seconds is None or place.eta_seconds > (retry.eta_seconds or 0)
    return place if is_longer else retry


def held_by_staff(place: Place | None) -> Place:
    """The place of a task whose model or provider staff have paused, without an end."""
    return Place(place.position if place else None, None, WaitingFor("staff"))


def places_of(tasks: Sequence[tuple[str, str]]) -> list[Place | None]:
    """The place of each (pool, task id); of one that is not in the ready set what blocks its pool,
    or None. Raises RedisUnavailable.
    """
    pipe = sync_redis().pipeline(transaction=False)
    _read_places(pipe, tasks)
    return _to_places(tasks, pipe.execute())


async def places(tasks: Sequence[tuple[str, str]]) -> list[Place | None]:
    """`places_of` for an event loop."""
    pipe = async_redis().pipeline(transaction=False)
    _read_places(pipe, tasks)
    return _to_places(tasks, await pipe.execute())


def _read_places(pipe: Pipeline | AsyncPipeline, tasks: Sequence[tuple[str, str]]) -> None:
    pipe.time()
    for pool in _pools(tasks):
        pipe.hmget(pool_keys(pool).stats, _FIELDS)
    for pool, task_id in tasks:
        pipe.zrank(pool_keys(pool).ready, task_id)


def _to_places(tasks: Sequence[tuple[str, str]], replies: Sequence[object]) -> list[Place | None]:
    """Convert the replies to the commands of `_read_places`, in their order."""
    pools = _pools(tasks)
    seconds, micros = cast("tuple[int, int]", replies[0])
    stats = cast("list[list[bytes | None]]", replies[1 : 1 + len(pools)])
    ranks = cast("list[int | None]", replies[1 + len(pools) :])
    now = seconds + micros / 1e6
    by_pool = {pool: _Stats(*fields) for pool, fields in zip(pools, stats, strict=True)}
    return [
        by_pool[pool].blocked(None, now) if rank is None else by_pool[pool].place(rank + 1, now)
        for (pool, _), rank in zip(tasks, ranks, strict=True)
    ]


def _pools(tasks: Sequence[tuple[str, str]]) -> list[str]:
    return sorted({pool for pool, _ in tasks})


def drain_seconds(pools: Iterable[str]) -> dict[str, float]:
    """Mean seconds until one more task of a pool starts or ends; a pool without calls is missing.

    Raises RedisUnavailable.
    """
    names = list(pools)
    pipe = sync_redis().pipeline(transaction=False)
    for pool in names:
        pipe.hmget(pool_keys(pool).stats, ["seconds", "in_use"])
    return {
        pool: float(seconds) / max(int(in_use), 1)
        for pool, (seconds, in_use) in zip(names, pipe.execute(), strict=True)
        if seconds and in_use
    }
