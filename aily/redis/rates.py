"""Requests a minute, counted in Redis for all processes together (a sliding window).

While Redis is away no request is counted, and none refused: that it can be accepted durably matters
more than that it is counted.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.problems import RateLimited, retry_after
from aily.redis import keys
from aily.redis.clients import async_rates_redis, sync_rates_redis
from aily.redis.errors import RedisUnavailable
from aily.redis.scripts import LuaScript

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60

_count = LuaScript[Sequence[int]](
    Path(__file__).parent / "lua" / "count.lua", sync_rates_redis, async_rates_redis
)


@dataclass(frozen=True, slots=True)
class Counter:
    """The subject that is counted, such as "user:7", and its limit of requests a minute."""

    subject: str
    per_minute: int


@dataclass(frozen=True, slots=True)
class Rate:
    """The state of a counter; `reset_seconds` until there is more room than `remaining`."""

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

    Returns the counter's state afterwards, None while Redis is away.
    """
    return await _counting().submit(counter)


@per_loop
def _counting() -> Batcher[Counter, Rate | None]:
    return Batcher(_count_all)


def count_many(requests: Sequence[Sequence[Counter]]) -> list[Rate | RateLimited | None]:
    """`count` for many requests from a thread, each with the counters that it is counted by.

    A request that one of its counters refuses is not counted by those after it. Returns each
    refusal, or the state of the counter with the least left.
    """
    states: list[Rate | RateLimited | None] = [None] * len(requests)
    for place in range(max(map(len, requests), default=0)):
        indexes = [
            index
            for index, counters in enumerate(requests)
            if place < len(counters) and not isinstance(states[index], RateLimited)
        ]
        counting = _Counting([requests[index][place] for index in indexes])
        try:
            outcomes = counting.outcomes(_count.call(counting.keys, counting.args))
        except RedisUnavailable as error:
            logger.debug("counting no requests: Redis is away (%s)", error)
            break
        for index, outcome in zip(indexes, outcomes, strict=True):
            states[index] = _narrower(states[index], outcome)
    return states


def _narrower(
    before: Rate | RateLimited | None, after: Rate | RateLimited | None
) -> Rate | RateLimited | None:
    if isinstance(before, Rate) and isinstance(after, Rate):
        return min(before, after, key=lambda rate: rate.remaining)
    return after


async def _count_all(counters: Sequence[Counter]) -> Sequence[Rate | RateLimited | None]:
    """Requests that arrive together are counted in one round trip."""
    counting = _Counting(counters)
    try:
        return counting.outcomes(await _count.acall(counting.keys, counting.args))
    except RedisUnavailable as error:
        logger.debug("counting no requests: Redis is away (%s)", error)
        return [None] * len(counters)


class _Counting:
    """One call of the script: equal counters are counted together."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._indexes: defaultdict[Counter, list[int]] = defaultdict(list)
        for index, counter in enumerate(counters):
            self._indexes[counter].append(index)
        self.keys = [keys.rate(counter.subject) for counter in self._indexes]
        self.args = [WINDOW_SECONDS * 1000]
        for counter, same in self._indexes.items():
            self.args += [counter.per_minute, len(same)]

    def outcomes(self, reply: Sequence[int]) -> list[Rate | RateLimited | None]:
        """What the script's reply means for each of the requests."""
        by_index: dict[int, Rate | RateLimited] = {}
        states = zip(*[iter(reply)] * 3, strict=True)
        for (counter, same), (counted, left, milliseconds) in zip(
            self._indexes.items(), states, strict=True
        ):
            seconds = milliseconds / 1000
            for place, index in enumerate(same):
                by_index[index] = (
                    Rate(counter.per_minute, left + counted - place - 1, seconds)
                    if place < counted
                    else _refusal(counter.per_minute, seconds, place - counted)
                )
        return [by_index[index] for index in range(len(by_index))]


def _refusal(per_minute: int, seconds: float, place: int) -> RateLimited:
    """The problem of a request that is refused after `place` others of the same moment."""
    refusal = RateLimited(
        f"At most {per_minute} requests a minute are allowed.",
        limit_name="requests_per_minute",
        limit=per_minute,
        # A request that is refused after others is to come back after them.
        retry_after_seconds=retry_after(seconds + place * WINDOW_SECONDS / per_minute),
    )
    refusal.headers.update(Rate(per_minute, 0, seconds).headers())
    return refusal
