"""Slots: the places under a deployment's cap that each worker has for its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Collection, Iterable, Mapping
from pathlib import Path
from typing import cast

from aily.redis.clients import async_redis, sync_redis
from aily.redis.many import execute_many
from aily.redis.scripts import LuaScript, ScriptCall
from chat.scheduler.keys import DeploymentKey, DeploymentKeys, deployment_keys, pool_keys

_LUA = Path(__file__).parent / "lua"
_renew = LuaScript[None](_LUA / "renew.lua")
_restore = LuaScript[None](_LUA / "restore.lua")


async def renew_worker(
    worker_id: str, deployments: Iterable[DeploymentKey], lease_seconds: int
) -> None:
    """Have a worker's slots in these deployments count for as long again, as a claim of each does.

    Raises RedisUnavailable.
    """
    calls: list[ScriptCall] = [
        (
            [
                pool_keys(pool).workers,
                *(
                    key
                    for keys in of_pool
                    for key in (keys.slots(worker_id), keys.batch_slots(worker_id), keys.in_use)
                ),
            ],
            [worker_id, lease_seconds],
        )
        for pool, of_pool in _by_pool(deployments).items()
    ]
    if calls:
        await _renew.acall_many(calls)


async def unknown_slots(
    worker_id: str, known: Mapping[DeploymentKey, Collection[str]]
) -> dict[DeploymentKey, set[str]]:
    """Slots that a worker has without knowing of them, by deployment: such as those of a claim
    whose reply was lost. `known` are the others of all its deployments.

    Reads their task ids only where there are more than are known. Raises RedisUnavailable.
    """
    client = async_redis()
    keys = [deployment_keys(deployment).slots(worker_id) for deployment in known]
    cards = await execute_many(client, [("SCARD", key) for key in keys])
    counts = zip(known, cards, strict=True)
    found = {}
    for deployment in [name for name, count in counts if count > len(known[name])]:
        members = client.smembers(deployment_keys(deployment).slots(worker_id))
        task_ids = await cast("Awaitable[set[bytes]]", members)
        unknown = {task_id.decode() for task_id in task_ids}.difference(known[deployment])
        found[deployment] = unknown
    return found


async def restore_slots(
    deployment: DeploymentKey,
    worker_id: str,
    task_ids: Mapping[str, bool],
    lease_seconds: int,
) -> None:
    """Give a worker the slots of its calls again, in case Redis lost them: it then has fewer.

    `task_ids` says which of them are of lane batch. Their number is all that a cap needs, and to
    send thousands of ids costs tens of milliseconds. Raises RedisUnavailable.
    """
    keys = deployment_keys(deployment)
    slots = keys.slots(worker_id)
    if not task_ids:
        return
    count = await cast("Awaitable[int]", async_redis().scard(slots))
    if count < len(task_ids):
        calls = [value for task_id, batch in task_ids.items() for value in (task_id, int(batch))]
        await _restore.acall(
            [slots, keys.batch_slots(worker_id), keys.in_use], [worker_id, lease_seconds, *calls]
        )


def drop_worker(worker_id: str, deployments: Iterable[DeploymentKey]) -> None:
    """Free a dead worker's slots at once instead of when they run out. Raises RedisUnavailable."""
    pipe = sync_redis().pipeline(transaction=False)
    for pool, of_pool in _by_pool(deployments).items():
        pipe.zrem(pool_keys(pool).workers, worker_id)
        for keys in of_pool:
            pipe.delete(keys.slots(worker_id), keys.batch_slots(worker_id))
            pipe.hdel(keys.in_use, worker_id)
    pipe.execute()


def mark_known(pool: str) -> None:
    """Say that a pool is new: there are no calls whose slots Redis could have lost.

    Without the mark, its first claim waits for workers to restore their slots (claims.COUNTING_MS).
    Raises RedisUnavailable.
    """
    sync_redis().set(pool_keys(pool).known, 1)


def _by_pool(deployments: Iterable[DeploymentKey]) -> Mapping[str, list[DeploymentKeys]]:
    found: defaultdict[str, list[DeploymentKeys]] = defaultdict(list)
    for deployment in deployments:
        found[deployment[0]].append(deployment_keys(deployment))
    return found
