"""How full pools and their deployments are: tasks that are ready, slots, and a minute's calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from aily.redis.clients import sync_redis
from chat.scheduler.claims import BUCKET_MS
from chat.scheduler.keys import DeploymentKey, deployment_keys, pool_keys
from chat.scheduler.ready import LANE_WIDTH

_LANES = 3
#: Of a deployment's `minute`.
MINUTE_FIELDS = ["at", "requests", "tokens"]
MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class DeploymentLoad:
    """`limit` is what a 429 left of the cap, if it did. `requests` and `tokens` are those of the
    last minute, as of the last claim; zero where neither is limited."""

    in_use: int
    limit: int | None
    requests: int
    tokens: int


def ready_counts(pools: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Ready tasks by lane, in one round trip, without reading them. Raises RedisUnavailable."""
    pipe = sync_redis().pipeline(transaction=False)
    for pool in pools:
        ready = pool_keys(pool).ready
        for lane in range(_LANES):
            pipe.zcount(ready, lane * LANE_WIDTH, f"({(lane + 1) * LANE_WIDTH}")
    replies = iter(pipe.execute())
    return {pool: tuple(int(next(replies)) for _lane in range(_LANES)) for pool in pools}


def deployment_loads(
    deployments: Collection[DeploymentKey],
) -> dict[DeploymentKey, DeploymentLoad]:
    """Read in one round trip. Raises RedisUnavailable."""
    pipe = sync_redis().pipeline(transaction=False)
    pipe.time()
    for deployment in deployments:
        keys = deployment_keys(deployment)
        pipe.hvals(keys.in_use)
        pipe.hget(keys.limit, "limit")
        pipe.hmget(keys.minute, MINUTE_FIELDS)
    (now, _micros), *rest = pipe.execute()
    replies = iter(rest)
    return {
        deployment: _load(in_use, limit, minute, now)
        for deployment, in_use, limit, minute in zip(
            deployments, replies, replies, replies, strict=True
        )
    }


def _load(
    in_use: list[bytes], limit: bytes | None, minute: list[bytes | None], now: float
) -> DeploymentLoad:
    requests, tokens = used_of_minute(minute, now)
    return DeploymentLoad(
        slots_in_use(in_use), None if limit is None else int(float(limit)), requests, tokens
    )


def slots_in_use(counts: Iterable[bytes]) -> int:
    """The sum of what workers have: `<slots>` or `<slots>:<slots of batch tasks>` of each."""
    return sum(int(count.partition(b":")[0]) for count in counts)


def used_of_minute(minute: Sequence[bytes | None], now: float) -> tuple[int, int]:
    """Requests and tokens of the last minute: the values of MINUTE_FIELDS as the last claim left
    them, and Redis' time."""
    newest, requests, tokens = (int(value or 0) for value in minute)
    is_over = now - newest * BUCKET_MS / 1000 > MINUTE_SECONDS
    return (0, 0) if is_over else (requests, tokens)
