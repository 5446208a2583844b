"""How full pools are: tasks that are ready, and slots in use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aily.redis.clients import sync_redis
from chat.scheduler.keys import pool_keys
from chat.scheduler.ready import LANE_WIDTH

_LANES = 3


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """`ready` has a count for each lane; `limit` is what a 429 left of the cap, if it is known."""

    ready: tuple[int, ...]
    in_use: int
    limit: int | None


def pool_loads(pools: Collection[str]) -> dict[str, PoolLoad]:
    """Count in one round trip, without reading the ready tasks. Raises RedisUnavailable."""
    pipe = sync_redis().pipeline(transaction=False)
    for pool in pools:
        keys = pool_keys(pool)
        for lane in range(_LANES):
            pipe.zcount(keys.ready, lane * LANE_WIDTH, f"({(lane + 1) * LANE_WIDTH}")
        pipe.hvals(keys.in_use)
        pipe.hget(keys.limit, "limit")
    replies = iter(pipe.execute())
    loads = {}
    for pool in pools:
        ready = tuple(int(next(replies)) for _lane in range(_LANES))
        in_use = sum(int(slots) for slots in next(replies))
        limit = next(replies)
        loads[pool] = PoolLoad(ready, in_use, None if limit is None else int(float(limit)))
    return loads
