"""Requests a minute, counted in Redis for all processes together (a sliding window).

While Redis is away nothing is counted and nobody is refused: that a request can be accepted
durably matters more than that it is counted.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aily.batching import Batcher
from aily.loops import per_loop
from aily.problems import RateLimited, retry_after
from aily.redis import LuaScript, RedisAway

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60

_count = LuaScript(Path(__file__).parent / "lua" / "count.lua")


@dataclass(frozen=True, slots=True)
class Counter:
    """Who is counted, such as "user:7", and how many requests a minute that may be."""

    subject: str
    per_minute: int


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


async def count(counter: Counter) -> Rate | None:
    """Count one request. Raises RateLimited when there were too many in the last minute.

    Returns where `counter` then stands, None while Redis is away.
    """
    return await _counting().submit(counter)


@per_loop
def _counting() -> Batcher[Counter, Rate | None]:
    return Batcher(_count_all)


async def _count_all(counters: Sequence[Counter]) -> Sequence[Rate | RateLimited | None]:
    """Requests that arrive together are counted in one round trip."""
    indexes: defaultdict[Counter, list[int]] = defaultdict(list)
    for index, counter in enumerate(counters):
        indexes[counter].append(index)
    args = (
        arg for one, same in indexes.items() for arg in (one.subject, one.per_minute, len(same))
    )
    outcomes: list[Rate | RateLimited | None] = [None] * len(counters)
    try:
        reply = await _count.acall(WINDOW_SECONDS * 1000, *args)
    except RedisAway as error:
        logger.debug("counting no requests: Redis is away (%s)", error)
        return outcomes
    standings = zip(*[iter(reply)] * 3, strict=True)
    for (counter, same), (counted, left, milliseconds) in zip(
        indexes.items(), standings, strict=True
    ):
        seconds = milliseconds / 1000
        for place, index in enumerate(same):
            outcomes[index] = (
                Rate(counter.per_minute, left + counted - place - 1, seconds)
                if place < counted
                else _refusal(counter.per_minute, seconds, place - counted)
            )
    return outcomes


def _refusal(per_minute: int, seconds: float, place: int) -> RateLimited:
    """What the request is told that is refused after `place` others of the same moment."""
    refusal = RateLimited(
        f"At most {per_minute} requests a minute are allowed.",
        limit_name="requests_per_minute",
        limit=per_minute,
        # Who is refused after others comes back after them.
        retry_after_seconds=retry_after(seconds + place * WINDOW_SECONDS / per_minute),
    )
    refusal.headers.update(Rate(per_minute, 0, seconds).headers())
    return refusal
