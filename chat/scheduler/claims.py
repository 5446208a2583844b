"""Claims: a worker gives back the slots of ended calls and takes the next tasks of a pool, each for
one of its deployments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from django.conf import settings

from aily.redis.scripts import Argument, LuaScript
from chat.scheduler.breakers import WINDOW_SECONDS
from chat.scheduler.keys import deployment_keys, doorbell_of, pool_keys
from chat.scheduler.ready import LANE_WIDTH

#: Of each deployment: which task may probe it, whether it may be called, and the ids of its tasks.
_DeploymentReply = tuple[int, int, *tuple[bytes, ...]]
#: left, is_counting, seconds until a limit of a minute has room, the task that probes by its turn,
#: what its tasks have tried, and the deployments
_ClaimReply = tuple[int, int, bytes, bytes, list[bytes], *tuple[_DeploymentReply, ...]]
_claim = LuaScript[_ClaimReply](Path(__file__).parent / "lua" / "claim.lua")

#: Nothing is claimed for this long after Redis was found empty. Workers look at each pool once a
#: second, and reconnect within another.
COUNTING_MS = 3000
#: While a breaker is open, fresh tasks may probe this far apart.
FRESH_PROBE_SECONDS = 2
#: Owners of succeeded calls that one claim reports at the most; of more, these are enough.
MAX_SERVED_OWNERS = 200
#: The minute of a limit is 242 buckets of this length (lua/claim.lua).
BUCKET_MS = 250
#: `tokens` of a call that was not made: it counts as no request either.
NOT_CALLED = -1

#: fresh: no task of its owner in its lane has failed; healthy: it has not failed itself; failed.
ProbeKind = Literal["fresh", "healthy", "failed"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A waiting task that is to find out whether a deployment (its name) is back."""

    task_id: str
    kind: ProbeKind
    deployment: str


@dataclass(frozen=True, slots=True)
class DeploymentClaim:
    """What a claim says of one deployment: its limits, and the calls of it that have ended.

    `weight` 0: it takes nothing. `requests_per_minute`, `tokens_per_minute` 0: no limit.
    `succeeded` of the `released` calls, of tasks of `owners`, raise its limit again and close its
    breaker. `used_tokens` of those whose tokens are known, by task id; NOT_CALLED of one that was
    not called.
    """

    name: str
    cap: int
    weight: int = 1
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    released: Sequence[str] = ()
    mean_seconds: float | None = None
    succeeded: int = 0
    owners: Collection[int] = ()
    used_tokens: Mapping[str, int] = field(default_factory=dict)

    def arguments(self) -> list[Argument]:
        """In claim.lua's order."""
        return [
            self.name,
            self.cap,
            self.weight,
            self.requests_per_minute,
            self.tokens_per_minute,
            "" if self.mean_seconds is None else self.mean_seconds,
            self.succeeded,
            ",".join(map(str, islice(self.owners, MAX_SERVED_OWNERS))),
            len(self.released),
            *self.released,
            len(self.used_tokens),
            *(value for item in self.used_tokens.items() for value in item),
        ]


@dataclass(frozen=True, slots=True)
class Taken:
    """The tasks that a claim took for one deployment.

    `may_probe` 1: its breaker is open, and a fresh task may be claimed by name; 2: any may be.
    `is_usable`: neither it is paused nor its breaker open, and staff let it take tasks.
    """

    task_ids: list[str]
    may_probe: int
    is_usable: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Tasks taken with their slots, and how many are still waiting.

    `is_counting`: Redis has lost the slots, and no task is given out before each worker had time to
    restore its own. `wait_seconds` is the time until a limit of a minute has room again, if one
    keeps tasks waiting. `probing` is the task that finds out, by its turn, whether a deployment is
    back. `tried` has the names of the deployments that have failed a task, by its id.
    """

    taken: dict[str, Taken]
    left: int
    is_counting: bool
    wait_seconds: float | None
    probing: str
    tried: dict[str, list[str]]

    @property
    def task_ids(self) -> list[str]:
        return [task_id for taken in self.taken.values() for task_id in taken.task_ids]

    @property
    def may_probe(self) -> dict[str, int]:
        """How many probes each deployment may have; only deployments with any."""
        return {name: taken.may_probe for name, taken in self.taken.items() if taken.may_probe}


async def claim(
    pool: str,
    worker_id: str,
    deployments: Sequence[DeploymentClaim],
    *,
    want: int,
    lease_seconds: int,
    probe: Probe | None = None,
    may_be_preferred: bool = False,
) -> Claim:
    """Give slots back and take up to `want` tasks for these deployments, never more than the cap of
    each over all workers, nor than its limits of a minute. Raises RedisUnavailable.

    Fewer while a provider says that there are too many calls. Of a deployment whose breaker is open
    none but `probe`, if one may be made.

    `may_be_preferred`: if this takes all that there is, the doorbell is rung for this worker alone
    from now on. That ends with a claim that leaves tasks behind, and with its first claim without
    `may_be_preferred`.
    """
    names = tuple(deployment.name for deployment in deployments)
    arguments: list[Argument] = [
        *(worker_id, lease_seconds, want),
        *(LANE_WIDTH, COUNTING_MS, WINDOW_SECONDS, FRESH_PROBE_SECONDS),
        settings.LLM_RETRY_AFTER_MAX_SECONDS,
        *((probe.task_id, probe.kind, names.index(probe.deployment) + 1) if probe else ("", "", 0)),
        *(settings.BATCH_MAX_SHARE, BUCKET_MS),
        *(doorbell_of(worker_id), int(may_be_preferred), len(deployments)),
        *(argument for deployment in deployments for argument in deployment.arguments()),
    ]
    keys = _keys(pool, worker_id, names)
    left, is_counting, wait, probing, tried, *replies = await _claim.acall(keys, arguments)
    return Claim(
        {name: _taken(reply) for name, reply in zip(names, replies, strict=True)},
        left,
        bool(is_counting),
        float(wait) if wait else None,
        probing.decode(),
        _tried(tried) if tried else {},
    )


def _taken(reply: _DeploymentReply) -> Taken:
    may_probe, is_usable, *task_ids = reply
    return Taken([task_id.decode() for task_id in task_ids], may_probe, bool(is_usable))


def _tried(reply: list[bytes]) -> dict[str, list[str]]:
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return {task_id.decode(): names.decode().strip(",").split(",") for task_id, names in pairs}


@lru_cache(maxsize=1024)
def _keys(pool: str, worker_id: str, deployments: tuple[str, ...]) -> tuple[str, ...]:
    """In claim.lua's order."""
    keys = pool_keys(pool)
    found = [
        keys.ready,
        keys.virtual_times,
        keys.stats,
        keys.rung,
        keys.workers,
        keys.known,
        keys.counting,
        keys.tried,
        keys.sizes,
    ]
    for name in deployments:
        own = deployment_keys((pool, name))
        found += [
            own.slots(worker_id),
            own.batch_slots(worker_id),
            own.in_use,
            own.limit,
            own.breaker,
            own.failures,
            own.unreachable,
            own.failing_owners,
            own.failing_lanes,
            own.successes,
            own.served,
            own.minute,
            own.charges,
            own.learnt,
        ]
    return tuple(found)
