"""Claims: a worker gives back the slots of ended calls and takes the next tasks of a pool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from django.conf import settings

from aily.redis.scripts import LuaScript
from chat.scheduler.breakers import WINDOW_SECONDS
from chat.scheduler.keys import pool_keys
from chat.scheduler.ready import LANE_WIDTH

#: left, is_counting, may_probe, and the ids of the tasks
_claim = LuaScript[tuple[int, int, int, *tuple[bytes, ...]]](
    Path(__file__).parent / "lua" / "claim.lua"
)

#: Nothing is claimed for this long after Redis was found empty. Workers look at each pool once a
#: second, and reconnect within another.
COUNTING_MS = 3000
#: While a breaker is open, fresh tasks may probe this far apart.
FRESH_PROBE_SECONDS = 2
#: Owners of succeeded calls that one claim reports at the most; of more, these are enough.
MAX_SERVED_OWNERS = 200

#: fresh: no task of its owner in its lane has failed; healthy: it has not failed itself; failed.
ProbeKind = Literal["fresh", "healthy", "failed"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A waiting task that is to find out whether its provider is back."""

    task_id: str
    kind: ProbeKind


@dataclass(frozen=True, slots=True)
class Claim:
    """Tasks taken with their slots, and how many are still waiting.

    `is_counting`: Redis has lost the slots, and no task is given out before each worker had time to
    restore its own. `may_probe` 1: the breaker is open, and a fresh task may be claimed by name; 2:
    any may be.
    """

    task_ids: list[str]
    left: int
    is_counting: bool
    may_probe: int = 0


async def claim(
    pool: str,
    worker_id: str,
    *,
    cap: int,
    want: int,
    lease_seconds: int,
    released: Sequence[str] = (),
    mean_seconds: float | None = None,
    succeeded: int = 0,
    owners: Collection[int] = (),
    probe: Probe | None = None,
) -> Claim:
    """Give the slots of `released` back and take up to `want` tasks, never more than `cap` over all
    workers. Raises RedisUnavailable.

    Fewer while the provider says that there are too many calls. While its breaker is open none but
    `probe`, if one may be made. `succeeded` of the released calls, of tasks of `owners`, raise the
    limit again and close the breaker.
    """
    left, is_counting, may_probe, *ids = await _claim.acall(
        _keys(pool, worker_id),
        [
            worker_id,
            lease_seconds,
            cap,
            want,
            LANE_WIDTH,
            "" if mean_seconds is None else mean_seconds,
            succeeded,
            COUNTING_MS,
            ",".join(map(str, islice(owners, MAX_SERVED_OWNERS))),
            WINDOW_SECONDS,
            FRESH_PROBE_SECONDS,
            probe.task_id if probe else "",
            probe.kind if probe else "",
            settings.LLM_RETRY_AFTER_MAX_SECONDS,
            *released,
        ],
    )
    return Claim([task_id.decode() for task_id in ids], left, bool(is_counting), may_probe)


@lru_cache(maxsize=1024)
def _keys(pool: str, worker_id: str) -> tuple[str, ...]:
    """In claim.lua's order."""
    keys = pool_keys(pool)
    provider = keys.provider
    return (
        keys.ready,
        keys.virtual_times,
        keys.stats,
        keys.slots(worker_id),
        keys.in_use,
        keys.limit,
        keys.rung,
        provider.workers,
        provider.known,
        provider.counting,
        provider.breaker,
        provider.failures,
        provider.unreachable,
        provider.failing_owners,
        provider.failing_lanes,
        provider.successes,
        provider.served,
    )
