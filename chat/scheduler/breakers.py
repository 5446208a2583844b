"""Pauses of a pool after 429, circuit breakers of a provider, and their end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from django.conf import settings
from redis.client import Pipeline

from aily.redis.clients import async_redis, sync_redis
from aily.redis.scripts import LuaScript
from chat.scheduler.keys import DOORBELL, PoolKeys, pool_keys, provider_keys, provider_of

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
    """A pool that is paused, or a provider whose breaker is open.

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
    pool: str,
    task_id: str,
    *,
    owner_id: int,
    lane: int,
    cap: int,
    fault: Fault,
    retry_after_seconds: float | None = None,
) -> float:
    """Note a call that failed through its provider's fault.

    A 429 halves the pool's limit and pauses it for Retry-After, as far as that is obeyed; other
    faults open the provider's breaker when many tasks have one and hardly any succeeds. Returns the
    seconds until the pool may be claimed from again.
    """
    keys = pool_keys(pool)
    wait = await _failed.acall(
        _failure_keys(keys),
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
        ],
    )
    return float(wait)


def _failure_keys(keys: PoolKeys) -> list[str]:
    provider = keys.provider
    return [
        keys.limit,
        keys.stats,
        provider.breaker,
        provider.failures,
        provider.unreachable,
        provider.failing_owners,
        provider.failing_lanes,
        provider.successes,
        provider.served,
    ]


def _lane_member(owner_id: int, lane: int) -> str:
    return f"{owner_id}:{int(lane)}"


async def failing_lanes(pool: str, lanes: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of these (owner, lane) of which a task failed at the pool's provider.

    Raises RedisUnavailable.
    """
    if not lanes:
        return set()
    key = provider_keys(provider_of(pool)).failing_lanes
    asked = async_redis().zmscore(key, [_lane_member(*lane) for lane in lanes])
    scores = await cast("Awaitable[list[float | None]]", asked)
    return {lane for lane, score in zip(lanes, scores, strict=True) if score is not None}


def blocks(
    pools: Collection[str], providers: Collection[str]
) -> tuple[dict[str, Block], dict[str, Block]]:
    """The paused ones of `pools`, and those of `providers` (ids) whose breaker is open.

    Raises RedisUnavailable.
    """
    pipe = sync_redis().pipeline(transaction=False)
    pipe.time()
    for pool in pools:
        pipe.hget(pool_keys(pool).limit, "paused_until")
    for provider in providers:
        pipe.hmget(provider_keys(provider).breaker, ["open_until", "opened"])
    (seconds, micros), *replies = pipe.execute()
    now = seconds + micros / 1e6
    paused, opened = replies[: len(pools)], replies[len(pools) :]
    return (
        {
            pool: Block(float(until) - now)
            for pool, until in zip(pools, paused, strict=True)
            if until is not None and float(until) > now
        },
        {
            provider: Block(max(float(until) - now, 0.0), int(times or 1))
            for provider, (until, times) in zip(providers, opened, strict=True)
            if until is not None
        },
    )


def lift_pause(pool: str) -> bool:
    """End the pause of a pool. False when there was none. Raises RedisUnavailable."""
    was_paused = bool(blocks([pool], [])[0])
    pipe = sync_redis().pipeline(transaction=True)
    pipe.hdel(pool_keys(pool).limit, "paused_until", "halved_until")
    _unblock(pipe, [pool])
    pipe.execute()
    return was_paused


def close_breaker(provider: str, pools: Iterable[str]) -> bool:
    """Have a provider (its id), whose pools these are, called again as if nothing had failed.

    False when its breaker was closed. Raises RedisUnavailable.
    """
    keys = provider_keys(provider)
    pipe = sync_redis().pipeline(transaction=True)
    pipe.delete(keys.breaker)
    pipe.delete(
        keys.failures, keys.unreachable, keys.failing_owners, keys.failing_lanes, keys.successes
    )
    _unblock(pipe, pools)
    return bool(pipe.execute()[0])


def _unblock(pipe: Pipeline, pools: Iterable[str]) -> None:
    """Remove the block from the stats that places are computed from, and wake the workers."""
    for pool in pools:
        pipe.hdel(pool_keys(pool).stats, "blocked_by", "blocked_until")
        pipe.publish(DOORBELL, pool)
