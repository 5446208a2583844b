"""The ready tasks of each pool (one model) in Redis.

All of it can be lost: the rows say which tasks are queued, and the sweep puts them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aily.redis.clients import async_redis, sync_redis
from aily.redis.many import Command, execute_many
from aily.redis.scripts import LuaScript, ScriptCall
from chat.scheduler.keys import DOORBELL, RELOAD, pool_keys
from chat.scheduler.places import EnqueueReply, Place, places_of_reply

_enqueue = LuaScript[EnqueueReply](Path(__file__).parent / "lua" / "enqueue.lua")

#: Lane L's scores start at L * LANE_WIDTH. A double still has steps below 0.001 at 2 * 2**42.
LANE_WIDTH = 2**42
#: A lost doorbell is rung again by the first submit after this long.
RING_MS = 1000
#: Tasks of each lane that are considered for a probe. Owners take turns, so that the first task of
#: any owner is not far behind.
PROBE_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the ready set: a queued task. `weight` is its owner's share in the lane.

    `tokens` that it may use, where its model has a limit of tokens a minute. `tried`: the names of
    deployments that have failed it; it goes to others first.
    """

    task_id: str
    lane: int
    owner_id: int
    weight: float = 1.0
    tokens: int | None = None
    tried: Sequence[str] = ()

    @property
    def cost(self) -> float:
        """Virtual time that it takes. A weight that is no number must not stop the whole sweep."""
        is_usable = math.isfinite(self.weight) and self.weight > 0
        return 1 / self.weight if is_usable else 1.0


def _call(pool: str, entries: Iterable[Entry]) -> ScriptCall:
    keys = pool_keys(pool)
    args: list[str | float] = [pool, LANE_WIDTH, RING_MS, DOORBELL]
    for entry in entries:
        tokens = "" if entry.tokens is None else entry.tokens
        tried = f",{','.join(entry.tried)}," if entry.tried else ""
        args += [entry.task_id, int(entry.lane), entry.owner_id, entry.cost, tokens, tried]
    return [
        keys.ready,
        keys.virtual_times,
        keys.stats,
        keys.rung,
        keys.messaged,
        keys.tried,
        keys.sizes,
    ], args


def enqueue(pool: str, entries: Sequence[Entry]) -> tuple[list[Place], bool]:
    """Make tasks ready. Returns each one's place, and whether the doorbell must be rung.

    Raises RedisUnavailable; the sweep then enqueues them later.
    """
    return places_of_reply(_enqueue.call(*_call(pool, entries)))


async def aenqueue(pool: str, entries: Sequence[Entry]) -> tuple[list[Place], bool]:
    """`enqueue` for an event loop."""
    return places_of_reply(await _enqueue.acall(*_call(pool, entries)))


async def with_work(pools: Sequence[str]) -> list[str]:
    """Return those of these pools that have ready tasks, or that Redis does not know any more.

    Raises RedisUnavailable.
    """
    keys = [pool_keys(pool) for pool in pools]
    commands: list[Command] = [("EXISTS", key) for own in keys for key in (own.ready, own.known)]
    replies = await execute_many(async_redis(), commands)
    states = zip(pools, replies[::2], replies[1::2], strict=True)
    return [pool for pool, has_ready, is_known in states if has_ready or not is_known]


async def ring(pool: str) -> None:
    """Wake the workers that are subscribed to the doorbell. Raises RedisUnavailable."""
    await async_redis().publish(DOORBELL, pool)


def ring_listeners(pool: str) -> bool:
    """`ring` for a thread. Returns whether any worker is subscribed. Raises RedisUnavailable."""
    return bool(sync_redis().publish(DOORBELL, pool))


def reload_workers() -> None:
    """Have every worker read the models and its own row anew. Raises RedisUnavailable."""
    sync_redis().publish(RELOAD, "")


async def heads(pool: str) -> list[str]:
    """The tasks of each lane that come next, the most urgent lane first.

    Raises RedisUnavailable.
    """
    key = pool_keys(pool).ready
    pipe = async_redis().pipeline(transaction=False)
    for lane in range(3):
        lowest, highest = lane * LANE_WIDTH, f"({(lane + 1) * LANE_WIDTH}"
        pipe.zrangebyscore(key, lowest, highest, start=0, num=PROBE_CANDIDATES)
    return [task_id.decode() for ids in await pipe.execute() for task_id in ids]


def remove(pool: str, task_ids: Sequence[str]) -> None:
    """Take cancelled tasks out. A task already claimed is stopped by its row instead."""
    keys = pool_keys(pool)
    pipe = sync_redis().pipeline(transaction=False)
    pipe.zrem(keys.ready, *task_ids)
    pipe.hdel(keys.tried, *task_ids)
    pipe.hdel(keys.sizes, *task_ids)
    pipe.execute()


def missing(pool: str, task_ids: Sequence[str]) -> list[str]:
    """Return the `task_ids` that are not in the ready set."""
    if not task_ids:
        return []
    found = sync_redis().zmscore(pool_keys(pool).ready, list(task_ids))
    scores = cast("list[float | None]", found)
    return [task_id for task_id, score in zip(task_ids, scores, strict=True) if score is None]
