"""Ready tasks of each pool (one upstream model) in Redis, and the leases on its capacity.

All of it can be lost: the rows say which tasks are queued, and the sweep puts them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aily.redis import LuaScript, async_redis, sync_redis

_LUA = Path(__file__).parent / "lua"
_enqueue = LuaScript(_LUA / "enqueue.lua")
_claim = LuaScript(_LUA / "claim.lua")
_failed = LuaScript(_LUA / "failed.lua")
_stand = LuaScript(_LUA / "stand.lua")

#: Lane L's scores start at L * LANE_WIDTH. A double still tells 0.001 apart at 2 * 2**42.
LANE_WIDTH = 2**42
#: Pub/sub channel of the names of pools that have work. Reaches idle workers at once; the Dramatiq
#: message that goes with it reaches, a little later, one that was not listening.
DOORBELL = "aily:doorbell"
#: A lost doorbell is rung again by the first submit after this long.
RING_MS = 1000
#: Nothing is claimed for this long after Redis was found empty. Workers look at each pool once a
#: second, and reconnect within another.
COUNTING_MS = 3000
#: Tasks failing in a row, none succeeding in between, after which a provider is left alone.
BREAKER_FAILURES = 20
#: Seconds it is left alone at first; each probe that fails doubles it, up to the maximum.
BREAKER_SECONDS = 5
BREAKER_MAX_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Entry:
    """A queued task, as the ready set knows it. `weight` is its owner's share in the lane."""

    task_id: str
    lane: int
    owner_id: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued task stands: 1 is next. `eta_seconds` until it starts, None when unknown."""

    position: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Claim:
    """Tasks taken with their leases, and how many are still waiting. `is_counting`: Redis has lost
    the leases, and nothing is given out before each worker had time to `hold` its own again."""

    task_ids: list[str]
    left: int
    is_counting: bool


def _eta(
    position: int, seconds: bytes | None, in_use: bytes | None, cap: bytes | None
) -> float | None:
    """Position divided by the rate at which calls end; zero while there is room."""
    if not (seconds and in_use and cap):
        return 0.0 if not cap else None
    if int(in_use) + position <= int(cap):
        return 0.0
    return round(position * float(seconds) / max(int(in_use), 1), 1)


def _enqueue_args(pool: str, entries: Iterable[Entry]) -> list[str | float]:
    args: list[str | float] = [pool, LANE_WIDTH, RING_MS]
    for entry in entries:
        args += [entry.task_id, int(entry.lane), entry.owner_id, 1 / entry.weight]
    return args


def _places(reply: Sequence[Any]) -> tuple[list[Place], bool]:
    ring, seconds, in_use, cap, *ranks = reply
    places = [Place(rank + 1, _eta(rank + 1, seconds, in_use, cap)) for rank in ranks]
    return places, bool(ring)


def enqueue(pool: str, entries: Sequence[Entry]) -> tuple[list[Place], bool]:
    """Make tasks ready. Returns each one's place, and whether the doorbell must be rung.

    Raises RedisAway; the sweep then enqueues them later.
    """
    return _places(_enqueue.call(*_enqueue_args(pool, entries)))


async def aenqueue(pool: str, entries: Sequence[Entry]) -> tuple[list[Place], bool]:
    """`enqueue` for an event loop."""
    return _places(await _enqueue.acall(*_enqueue_args(pool, entries)))


async def ring(pool: str) -> None:
    """Wake the workers that listen. Raises RedisAway."""
    await async_redis().publish(DOORBELL, pool)


async def claim(
    pool: str,
    worker_id: str,
    *,
    cap: int,
    want: int,
    lease_seconds: int,
    provider: str,
    released: Sequence[str] = (),
    mean_seconds: float | None = None,
    succeeded: int = 0,
) -> Claim:
    """Give `released` back and take up to `want` tasks, never more than `cap` over all workers.

    Fewer while the provider says that there are too many calls, none while its breaker is open.
    `succeeded` of the released calls raise the limit again and close the breaker.
    """
    mean = "" if mean_seconds is None else mean_seconds
    left, is_counting, *ids = await _claim.acall(
        pool,
        worker_id,
        lease_seconds,
        cap,
        want,
        LANE_WIDTH,
        mean,
        provider,
        succeeded,
        COUNTING_MS,
        *released,
    )
    return Claim([task_id.decode() for task_id in ids], left, bool(is_counting))


async def report_failure(
    pool: str,
    provider: str,
    task_id: str,
    *,
    cap: int,
    is_throttled: bool,
    retry_after_seconds: float | None,
) -> float:
    """Note a call that failed through its provider's fault.

    A 429 (`is_throttled`) halves the pool's limit and pauses it for Retry-After; other failures
    open the provider's breaker when many tasks have one in a row. Returns the seconds until the
    pool may be claimed from again.
    """
    wait = await _failed.acall(
        pool,
        provider,
        int(is_throttled),
        cap,
        retry_after_seconds or 0,
        BREAKER_FAILURES,
        BREAKER_SECONDS,
        BREAKER_MAX_SECONDS,
        task_id,
    )
    return float(wait)


def open_breakers() -> set[str]:
    """Providers that are being left alone at the moment."""
    client: Any = sync_redis()
    names = [key.decode() for key in client.scan_iter("aily:breaker:*", count=100)]
    is_open = [bool(client.hexists(name, "open_until")) for name in names]
    return {
        name.removeprefix("aily:breaker:")
        for name, opened in zip(names, is_open, strict=True)
        if opened
    }


def place_of(pool: str, task_id: str) -> Place | None:
    """A task's place, None when it is not waiting in the ready set."""
    pipe = sync_redis().pipeline(transaction=False)
    pipe.zrank(f"aily:ready:{pool}", task_id)
    pipe.hmget(f"aily:stats:{pool}", ["seconds", "in_use", "cap"])
    rank, (seconds, in_use, cap) = pipe.execute()
    if rank is None:
        return None
    return Place(rank + 1, _eta(rank + 1, seconds, in_use, cap))


async def places(tasks: Sequence[tuple[str, str]]) -> list[Place | None]:
    """`place_of` for many (pool, task id), in one round trip."""
    pipe: Any = async_redis().pipeline(transaction=False)
    pools = sorted({pool for pool, _ in tasks})
    for pool in pools:
        pipe.hmget(f"aily:stats:{pool}", ["seconds", "in_use", "cap"])
    for pool, task_id in tasks:
        pipe.zrank(f"aily:ready:{pool}", task_id)
    replies = await pipe.execute()
    stats = dict(zip(pools, replies, strict=False))
    return [
        None if rank is None else Place(rank + 1, _eta(rank + 1, *stats[pool]))
        for (pool, _), rank in zip(tasks, replies[len(pools) :], strict=True)
    ]


def drain_seconds(pools: Iterable[str]) -> dict[str, float]:
    """Mean seconds until one more task of a pool starts or ends; a pool without calls is missing.

    Raises RedisAway.
    """
    names = list(pools)
    pipe = sync_redis().pipeline(transaction=False)
    for pool in names:
        pipe.hmget(f"aily:stats:{pool}", ["seconds", "in_use"])
    return {
        pool: float(seconds) / max(int(in_use), 1)
        for pool, (seconds, in_use) in zip(names, pipe.execute(), strict=True)
        if seconds and in_use
    }


def remove(pool: str, task_ids: Sequence[str]) -> None:
    """Take cancelled tasks out. A task already claimed is stopped by its row instead."""
    sync_redis().zrem(f"aily:ready:{pool}", *task_ids)


def missing(pool: str, task_ids: Sequence[str]) -> list[str]:
    """Those of `task_ids` that are not in the ready set."""
    if not task_ids:
        return []
    scores: Any = sync_redis().zmscore(f"aily:ready:{pool}", list(task_ids))
    return [task_id for task_id, score in zip(task_ids, scores, strict=True) if score is None]


async def stand(worker_id: str, pools: Iterable[str], lease_seconds: int) -> None:
    """Have a worker's leases count for as long again, as each claim does. Raises RedisAway."""
    await _stand.acall(worker_id, lease_seconds, *pools)


async def hold(pool: str, worker_id: str, task_ids: Sequence[str]) -> None:
    """Say again which leases a worker has, in case Redis lost them: it then has fewer.

    How many they are is all that a cap asks for, and to name thousands costs tens of milliseconds.
    """
    key, client = f"aily:leases:{pool}:{worker_id}", cast("Any", async_redis())
    if task_ids and await client.scard(key) < len(task_ids):
        await client.sadd(key, *task_ids)


def forget_worker(worker_id: str, pools: Iterable[str]) -> None:
    """Drop a dead worker's leases at once instead of when they run out."""
    pipe = sync_redis().pipeline(transaction=False)
    pipe.zrem("aily:workers", worker_id)
    for pool in pools:
        pipe.delete(f"aily:leases:{pool}:{worker_id}")
    pipe.execute()
