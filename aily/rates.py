"""Requests a minute, counted in Redis for all processes together (a sliding window).

While Redis is away nothing is counted and nobody is refused: that a request can be accepted
durably matters more than that it is counted.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from aily.batching import Batcher
from aily.loops import per_loop
from aily.problems import RateLimited, retry_after
from aily.redis import RedisAway, async_redis

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Counter:
    """Who is counted, such as "user:7", and how many requests a minute that may be."""

    subject: str
    per_minute: int

    @property
    def item(self) -> RateLimitItemPerMinute:
        return RateLimitItemPerMinute(self.per_minute)


@dataclass(frozen=True, slots=True)
class Rate:
    """Where a counter stands; `reset_seconds` until there is more room than `remaining`."""

    per_minute: int
    remaining: int
    reset_seconds: float

    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit, as in draft-ietf-httpapi-ratelimit-headers-11."""
        reset = math.ceil(self.reset_seconds)
        return {
            "RateLimit-Policy": f'"requests";q={self.per_minute};w={WINDOW_SECONDS}',
            "RateLimit": f'"requests";r={self.remaining};t={reset}',
        }


async def count(counter: Counter) -> None:
    """Count one request. Raises RateLimited when there were too many in the last minute."""
    await _service().batcher.submit(counter)


async def rate_of(counter: Counter) -> Rate | None:
    """Where `counter` stands, None while Redis is away."""
    try:
        return await _service().rate(counter)
    except RedisAway:
        return None


class _Service:
    """One event loop's way to the counters. Requests that arrive together are counted together."""

    def __init__(self) -> None:
        pool = async_redis().connection_pool
        # The URL only chooses the kind of client; the connections are those of the pool.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix="aily:rate",
            connection_pool=pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self.batcher: Batcher[Counter, None] = Batcher(self._count_all)

    async def rate(self, counter: Counter) -> Rate:
        stats = await self._limiter.get_window_stats(counter.item, counter.subject)
        reset_seconds = max(stats.reset_time - time.time(), 0)
        return Rate(counter.per_minute, stats.remaining, reset_seconds)

    async def _count_all(self, counters: list[Counter]) -> Sequence[RateLimited | None]:
        indexes: defaultdict[Counter, list[int]] = defaultdict(list)
        for index, counter in enumerate(counters):
            indexes[counter].append(index)
        outcomes: list[RateLimited | None] = [None] * len(counters)
        refusals = await asyncio.gather(
            *(self._count(counter, len(same)) for counter, same in indexes.items())
        )
        for same, refused in zip(indexes.values(), refusals, strict=True):
            for index, refusal in zip(reversed(same), reversed(refused), strict=False):
                outcomes[index] = refusal
        return outcomes

    async def _count(self, counter: Counter, cost: int) -> list[RateLimited]:
        """Count `cost` requests of one counter. Returns a refusal for each that is too many."""
        try:
            if await self._limiter.hit(counter.item, counter.subject, cost=cost):
                return []
            rate = await self.rate(counter)
            fits = min(rate.remaining, cost)
            if fits and not await self._limiter.hit(counter.item, counter.subject, cost=fits):
                fits = 0
        except RedisAway as error:
            logger.debug("counting no requests: Redis is away (%s)", error)
            return []
        return [_refusal(rate, place) for place in range(cost - fits)]


def _refusal(rate: Rate, place: int) -> RateLimited:
    # Who is refused after others comes back after them.
    seconds = rate.reset_seconds + place * WINDOW_SECONDS / rate.per_minute
    refusal = RateLimited(
        f"At most {rate.per_minute} requests a minute are allowed.",
        limit_name="requests_per_minute",
        limit=rate.per_minute,
        retry_after_seconds=retry_after(seconds),
    )
    refusal.headers.update(Rate(rate.per_minute, 0, rate.reset_seconds).headers())
    return refusal


_service = per_loop(_Service)
