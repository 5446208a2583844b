"""Pauses of a deployment after 429, its circuit breaker, and their end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from django.conf import settings
from redis.client import Pipeline

from aily.redis.clients import async_redis, sync_redis
from aily.redis.scripts import LuaScript
from chat.scheduler.keys import DOORBELL, DeploymentKey, deployment_keys, pool_keys

_failed = LuaScript[bytes](Path(__file__).parent / "lua" / "failed.lua")

#: For how long a failure or a success counts.
WINDOW_SECONDS = 60
#: Different tasks that must fail for the breaker to open, while hardly any succeeds.
BREAKER_FAILURES = 20
#: So many are enough where no connection came about, for which no request can be to blame.
BREAKER_UNREACHABLE = 10
#: Share of calls that succeed below which a provider counts as failing.
BREAKER_SUCCESS_SHARE = 0.1
#: Seconds the breaker stays open at first; each probe by a healthy task that fails doubles them, up
#: to the maximum.
BREAKER_SECONDS = 5
BREAKER_MAX_SECONDS = 300


class Fault(StrEnum):
    """What went wrong with a call, in the words of failed.lua."""

    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Block:
    """A deployment that is paused, or whose breaker is open.

    `seconds_left` is 0 where a probe may be made, or runs. `opened`: how often in a row.
    """

    seconds_left: float
    opened: int = 0


def bounded_wait(seconds: float | None) -> float:
    """The wait that a provider asked for, at most LLM_RETRY_AFTER_MAX_SECONDS; 0 for no number."""
    if seconds is None or math.isnan(seconds):
        return 0.0
    return max(0.0, min(seconds, float(settings.LLM_RETRY_AFTER_MAX_SECONDS)))


async def report_failure(
    deployment: DeploymentKey,
    task_id: str,
    *,
    owner_id: int,
    lane: int,
    cap: int,
    fault: Fault,
    retry_after_seconds: float | None = None,
    is_alone: bool = True,
) -> float:
    """Note a call that failed through its provider's fault.

    A 429 halves the deployment's limit and pauses it for Retry-After, as far as that is obeyed;
    other faults open its breaker when many tasks have one and hardly any succeeds. `is_alone`: its
    pool has no other, and is blocked with it. Returns the seconds until it may be called again.
    """
    wait = await _failed.acall(
        _failure_keys(deployment),
        [
            fault.value,
            cap,
            bounded_wait(retry_after_seconds),
            task_id,
            owner_id,
            _lane_member(owner_id, lane),
            WINDOW_SECONDS,
            BREAKER_FAILURES,
            BREAKER_UNREACHABLE,
            BREAKER_SUCCESS_SHARE,
            BREAKER_SECONDS,
            BREAKER_MAX_SECONDS,
            int(is_alone),
        ],
    )
    return float(wait)


def _failure_keys(deployment: DeploymentKey) -> list[str]:
    keys = deployment_keys(deployment)
    return [
        keys.limit,
        pool_keys(deployment[0]).stats,
        keys.breaker,
        keys.failures,
        keys.unreachable,
        keys.failing_owners,
        keys.failing_lanes,
        keys.successes,
        keys.served,
    ]


def _lane_member(owner_id: int, lane: int) -> str:
    return f"{owner_id}:{int(lane)}"


async def failing_lanes(
    deployment: DeploymentKey, lanes: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Return the (owner, lane) pairs of which a task failed at this deployment.

    Raises RedisUnavailable.
    """
    if not lanes:
        return set()
    key = deployment_keys(deployment).failing_lanes
    asked = async_redis().zmscore(key, [_lane_member(*lane) for lane in lanes])
    scores = await cast("Awaitable[list[float | None]]", asked)
    return {lane for lane, score in zip(lanes, scores, strict=True) if score is not None}


def blocks(
    deployments: Collection[DeploymentKey],
) -> tuple[dict[DeploymentKey, Block], dict[DeploymentKey, Block]]:
    """Return the deployments that are paused, and those whose breaker is open.

    Raises RedisUnavailable.
    """
    pipe = sync_redis().pipeline(transaction=False)
    pipe.time()
    for deployment in deployments:
        keys = deployment_keys(deployment)
        pipe.hget(keys.limit, "paused_until")
        pipe.hmget(keys.breaker, ["open_until", "opened"])
    (seconds, micros), *replies = pipe.execute()
    now = seconds + micros / 1e6
    paused, opened = {}, {}
    rest = iter(replies)
    for deployment, until, (open_until, times) in zip(deployments, rest, rest, strict=True):
        if until is not None and float(until) > now:
            paused[deployment] = Block(float(until) - now)
        if open_until is not None:
            left = max(float(open_until) - now, 0.0)
            opened[deployment] = Block(left, int(times or 1))
    return paused, opened


def lift_pause(deployment: DeploymentKey) -> bool:
    """End the pause of a deployment. False when there was none. Raises RedisUnavailable."""
    was_paused = bool(blocks([deployment])[0])
    pipe = sync_redis().pipeline(transaction=True)
    pipe.hdel(deployment_keys(deployment).limit, "paused_until", "halved_until")
    _unblock(pipe, deployment)
    pipe.execute()
    return was_paused


def close_breaker(deployment: DeploymentKey) -> bool:
    """Have a deployment called again as if nothing had failed.

    False when its breaker was closed. Raises RedisUnavailable.
    """
    keys = deployment_keys(deployment)
    pipe = sync_redis().pipeline(transaction=True)
    pipe.delete(keys.breaker)
    pipe.delete(
        keys.failures, keys.unreachable, keys.failing_owners, keys.failing_lanes, keys.successes
    )
    _unblock(pipe, deployment)
    return bool(pipe.execute()[0])


def _unblock(pipe: Pipeline, deployment: DeploymentKey) -> None:
    """Remove the block from the stats that places are computed from, and wake the workers."""
    pool, _ = deployment
    pipe.hdel(pool_keys(pool).stats, "blocked_by", "blocked_until")
    pipe.publish(DOORBELL, pool)
