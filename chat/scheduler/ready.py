"""Ready tasks of each pool (one upstream model) in Redis, and the leases on its capacity.

All of it can be lost: the rows say which tasks are queued, and the sweep puts them back.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from django.conf import settings

from aily.redis.clients import LuaScript, async_redis, sync_redis
from chat.scheduler.breakers import WINDOW_SECONDS
from chat.scheduler.places import Place, places_of_reply

_LUA = Path(__file__).parent / "lua"
_enqueue = LuaScript(_LUA / "enqueue.lua")
_claim = LuaScript(_LUA / "claim.lua")
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
#: While a breaker is open, fresh tasks may probe this far apart.
FRESH_PROBE_SECONDS = 2
#: Owners of succeeded calls that one claim tells of; of more, these are enough.
MAX_OWNERS_TOLD = 200
#: Tasks of each lane that are looked at for one that may probe. Owners take turns, so that the
#: first task of any owner is not far behind.
PROBE_CANDIDATES = 100

#: fresh: no task of its owner in its lane has failed; healthy: it has not failed itself; failed.
ProbeKind = Literal["fresh", "healthy", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A queued task, as the ready set knows it. `weight` is its owner's share in the lane."""

    task_id: str
    lane: int
    owner_id: int
    weight: float = 1.0

    @property
    def cost(self) -> float:
        """Virtual time that it takes. A weight that is none must not stop the sweep for all."""
        is_usable = math.isfinite(self.weight) and self.weight > 0
        return 1 / self.weight if is_usable else 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A waiting task that is to find out whether its provider is back."""

    task_id: str
    kind: ProbeKind


@dataclass(frozen=True, slots=True)
class Claim:
    """Tasks taken with their leases, and how many are still waiting. `is_counting`: Redis has lost
    the leases, and nothing is given out before each worker had time to `hold` its own again.

    `may_probe` 1: the breaker is open, and a fresh task may be claimed by name; 2: any may be.
    """

    task_ids: list[str]
    left: int
    is_counting: bool
    may_probe: int = 0


def _enqueue_args(pool: str, entries: Iterable[Entry]) -> list[str | float]:
    args: list[str | float] = [pool, LANE_WIDTH, RING_MS]
    for entry in entries:
        args += [entry.task_id, int(entry.lane), entry.owner_id, entry.cost]
    return args


def enqueue(pool: str, entries: Sequence[Entry]) -> tuple[list[Place], bool]:
    """Make tasks ready. Returns each one's place, and whether the doorbell must be rung.

    Raises RedisAway; the sweep then enqueues them later.
    """
    return places_of_reply(_enqueue.call(*_enqueue_args(pool, entries)))


async def aenqueue(pool: str, entries: Sequence[Entry]) -> tuple[list[Place], bool]:
    """`enqueue` for an event loop."""
    return places_of_reply(await _enqueue.acall(*_enqueue_args(pool, entries)))


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
    owners: Collection[int] = (),
    probe: Probe | None = None,
) -> Claim:
    """Give `released` back and take up to `want` tasks, never more than `cap` over all workers.

    Fewer while the provider says that there are too many calls. While its breaker is open none but
    `probe`, if one may be made. `succeeded` of the released calls, of tasks of `owners`, raise the
    limit again and close the breaker.
    """
    left, is_counting, may_probe, *ids = await _claim.acall(
        pool,
        worker_id,
        lease_seconds,
        cap,
        want,
        LANE_WIDTH,
        "" if mean_seconds is None else mean_seconds,
        provider,
        succeeded,
        COUNTING_MS,
        ",".join(map(str, list(owners)[:MAX_OWNERS_TOLD])),
        WINDOW_SECONDS,
        FRESH_PROBE_SECONDS,
        probe.task_id if probe else "",
        probe.kind if probe else "",
        settings.LLM_RETRY_AFTER_MAX_SECONDS,
        *released,
    )
    return Claim([task_id.decode() for task_id in ids], left, bool(is_counting), may_probe)


async def heads(pool: str) -> list[str]:
    """The tasks of each lane that come next, the most urgent lane first. Raises RedisAway."""
    pipe: Any = async_redis().pipeline(transaction=False)
    for lane in range(3):
        lowest, highest = lane * LANE_WIDTH, f"({(lane + 1) * LANE_WIDTH}"
        pipe.zrangebyscore(f"aily:ready:{pool}", lowest, highest, start=0, num=PROBE_CANDIDATES)
    return [task_id.decode() for ids in await pipe.execute() for task_id in ids]


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


async def unknown_leases(
    worker_id: str, known: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """Leases that a worker has without knowing of them, by pool: such as those of a claim whose
    answer was lost. `known` are the others of all its pools.

    Asks for their names only where there are more than are known. Raises RedisAway.
    """
    client: Any = async_redis()
    pipe = client.pipeline(transaction=False)
    for pool in known:
        pipe.scard(f"aily:leases:{pool}:{worker_id}")
    counts = zip(known, await pipe.execute(), strict=True)
    found = {}
    for pool in [pool for pool, count in counts if count > len(known[pool])]:
        names = await client.smembers(f"aily:leases:{pool}:{worker_id}")
        found[pool] = set(map(bytes.decode, names)).difference(known[pool])
    return found


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
