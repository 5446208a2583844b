"""What failing calls lead to: pauses of a pool after 429, breakers of a provider, and their end."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.conf import settings

from aily.redis.clients import LuaScript, async_redis, sync_redis

_failed = LuaScript(Path(__file__).parent / "lua" / "failed.lua")

#: For how long a failure or a success counts.
WINDOW_SECONDS = 60
#: Different tasks that must fail for a provider to be left alone, while hardly any succeeds.
BREAKER_FAILURES = 20
#: So many are enough where no connection came about, for which no request can be to blame.
BREAKER_UNREACHABLE = 10
#: Share of calls that succeed below which a provider counts as failing.
BREAKER_SUCCESS_SHARE = 0.1
#: Seconds it is left alone at first; each probe by a healthy task that fails doubles it, up to the
#: maximum.
BREAKER_SECONDS = 5
BREAKER_MAX_SECONDS = 300


class Fault(StrEnum):
    """What went wrong with a call, by the words of failed.lua."""

    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Block:
    """A pool that is paused, or a provider that is left alone.

    `seconds_left` is 0 where a probe may be made, or runs. `opened`: how often in a row.
    """

    name: str
    seconds_left: float
    opened: int = 0


def bounded_wait(seconds: float | None) -> float:
    """How much of a wait that a provider asked for is obeyed; 0 for none, or what is no number."""
    if seconds is None or math.isnan(seconds):
        return 0.0
    return max(0.0, min(seconds, float(settings.LLM_RETRY_AFTER_MAX_SECONDS)))


async def report_failure(
    pool: str,
    provider: str,
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
    wait = await _failed.acall(
        pool,
        provider,
        fault.value,
        cap,
        bounded_wait(retry_after_seconds),
        task_id,
        owner_id,
        WINDOW_SECONDS,
        BREAKER_FAILURES,
        BREAKER_UNREACHABLE,
        BREAKER_SUCCESS_SHARE,
        BREAKER_SECONDS,
        BREAKER_MAX_SECONDS,
        int(lane),
    )
    return float(wait)


async def failing_lanes(provider: str, lanes: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of these, (owner, lane), of which a task failed at the provider. Raises RedisAway."""
    if not lanes:
        return set()
    client: Any = async_redis()
    members = [f"{owner_id}:{lane}" for owner_id, lane in lanes]
    scores = await client.zmscore(f"aily:failing_lanes:{provider}", members)
    return {found for found, score in zip(lanes, scores, strict=True) if score is not None}


def blocks(
    pools: Collection[str], providers: Collection[str]
) -> tuple[dict[str, Block], dict[str, Block]]:
    """The pools of these that are paused, the providers whose breaker is open. Raises RedisAway."""
    pipe: Any = sync_redis().pipeline(transaction=False)
    pipe.time()
    for pool in pools:
        pipe.hget(f"aily:limit:{pool}", "paused_until")
    for provider in providers:
        pipe.hmget(f"aily:breaker:{provider}", ["open_until", "opened"])
    (seconds, micros), *replies = pipe.execute()
    now = seconds + micros / 1e6
    paused, opened = replies[: len(pools)], replies[len(pools) :]
    return (
        {
            pool: Block(pool, float(until) - now)
            for pool, until in zip(pools, paused, strict=True)
            if until is not None and float(until) > now
        },
        {
            provider: Block(provider, max(float(until) - now, 0.0), int(times or 1))
            for provider, (until, times) in zip(providers, opened, strict=True)
            if until is not None
        },
    )


def lift_pause(pool: str) -> bool:
    """End the pause of a pool. False when there was none. Raises RedisAway."""
    was_paused = bool(blocks([pool], [])[0])
    pipe = sync_redis().pipeline(transaction=True)
    pipe.hdel(f"aily:limit:{pool}", "paused_until", "halved_until")
    _unblock(pipe, [pool])
    pipe.execute()
    return was_paused


def close_breaker(provider: str, pools: Iterable[str]) -> bool:
    """Have a provider, whose pools these are, called again as if nothing had failed.

    False when its breaker was closed. Raises RedisAway.
    """
    pipe = sync_redis().pipeline(transaction=True)
    pipe.delete(f"aily:breaker:{provider}")
    kinds = ("failures", "unreachable", "failing_owners", "failing_lanes", "successes")
    pipe.delete(*(f"aily:{kind}:{provider}" for kind in kinds))
    _unblock(pipe, pools)
    return bool(pipe.execute()[0])


def _unblock(pipe: Any, pools: Iterable[str]) -> None:
    """Say so in what places are made of, and wake the workers: they look what else there is."""
    for pool in pools:
        pipe.hdel(f"aily:stats:{pool}", "blocked_by", "blocked_until")
        pipe.publish("aily:doorbell", pool)
