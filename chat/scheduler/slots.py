"""Slots: the places under a pool's cap that each worker has for its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from aily.redis.clients import async_redis, sync_redis
from aily.redis.scripts import LuaScript, ScriptCall
from chat.scheduler.keys import PoolKeys, pool_keys, provider_keys, provider_of

_LUA = Path(__file__).parent / "lua"
_renew = LuaScript[None](_LUA / "renew.lua")
_restore = LuaScript[None](_LUA / "restore.lua")


async def renew_worker(worker_id: str, pools: Iterable[str], lease_seconds: int) -> None:
    """Have a worker's slots in these pools count for as long again, as a claim of each does.

    Raises RedisUnavailable.
    """
    calls: list[ScriptCall] = [
        (
            [
                provider_keys(provider).workers,
                *(key for keys in of_provider for key in (keys.slots(worker_id), keys.in_use)),
            ],
            [worker_id, lease_seconds],
        )
        for provider, of_provider in _by_provider(pools).items()
    ]
    if calls:
        await _renew.acall_many(calls)


async def unknown_slots(
    worker_id: str, known: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """Slots that a worker has without knowing of them, by pool: such as those of a claim whose
    reply was lost. `known` are the others of all its pools.

    Reads their task ids only where there are more than are known. Raises RedisUnavailable.
    """
    client = async_redis()
    pipe = client.pipeline(transaction=False)
    for pool in known:
        pipe.scard(pool_keys(pool).slots(worker_id))
    counts = zip(known, await pipe.execute(), strict=True)
    found = {}
    for pool in [pool for pool, count in counts if count > len(known[pool])]:
        members = client.smembers(pool_keys(pool).slots(worker_id))
        task_ids = await cast("Awaitable[set[bytes]]", members)
        found[pool] = {task_id.decode() for task_id in task_ids}.difference(known[pool])
    return found


async def restore_slots(
    pool: str, worker_id: str, task_ids: Sequence[str], lease_seconds: int
) -> None:
    """Give a worker the slots of its calls again, in case Redis lost them: it then has fewer.

    Their number is all that a cap needs, and to send thousands of ids costs tens of milliseconds.
    Raises RedisUnavailable.
    """
    keys = pool_keys(pool)
    slots = keys.slots(worker_id)
    if not task_ids:
        return
    count = await cast("Awaitable[int]", async_redis().scard(slots))
    if count < len(task_ids):
        await _restore.acall([slots, keys.in_use], [worker_id, lease_seconds, *task_ids])


def drop_worker(worker_id: str, pools: Iterable[str]) -> None:
    """Free a dead worker's slots at once instead of when they run out. Raises RedisUnavailable."""
    pipe = sync_redis().pipeline(transaction=False)
    for provider, of_provider in _by_provider(pools).items():
        pipe.zrem(provider_keys(provider).workers, worker_id)
        for keys in of_provider:
            pipe.delete(keys.slots(worker_id))
            pipe.hdel(keys.in_use, worker_id)
    pipe.execute()


def mark_known(provider: str) -> None:
    """Say that a provider (its id) is new: there are no calls whose slots Redis could have lost.

    Without the mark, its first claim waits for workers to restore their slots (claims.COUNTING_MS).
    Raises RedisUnavailable.
    """
    sync_redis().set(provider_keys(provider).known, 1)


def _by_provider(pools: Iterable[str]) -> Mapping[str, list[PoolKeys]]:
    found: defaultdict[str, list[PoolKeys]] = defaultdict(list)
    for pool in pools:
        found[provider_of(pool)].append(pool_keys(pool))
    return found
