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

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.problems import RateLimited, retry_after
from aily.redis.clients import LuaScript, RedisAway

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


def refusals(wishes: Sequence[Sequence[Counter]]) -> list[RateLimited | None]:
    """`count` for many requests from a thread, each with the counters that it is counted by.

    A request that one of its counters refuses is not counted by those after it.
    """
    refused: list[RateLimited | None] = [None] * len(wishes)
    for place in range(max(map(len, wishes), default=0)):
        indexes = [
            index
            for index, counters in enumerate(wishes)
            if place < len(counters) and refused[index] is None
        ]
        counting = _Counting([wishes[index][place] for index in indexes])
        try:
            outcomes = counting.outcomes(_count.call(*counting.args))
        except RedisAway as error:
            logger.debug("counting no requests: Redis is away (%s)", error)
            break
        for index, outcome in zip(indexes, outcomes, strict=True):
            refused[index] = outcome if isinstance(outcome, RateLimited) else None
    return refused


async def _count_all(counters: Sequence[Counter]) -> Sequence[Rate | RateLimited | None]:
    """Requests that arrive together are counted in one round trip."""
    counting = _Counting(counters)
    try:
        return counting.outcomes(await _count.acall(*counting.args))
    except RedisAway as error:
        logger.debug("counting no requests: Redis is away (%s)", error)
        return [None] * len(counters)


class _Counting:
    """One call of the script, that counts these requests: equal counters are counted together."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._indexes: defaultdict[Counter, list[int]] = defaultdict(list)
        for index, counter in enumerate(counters):
            self._indexes[counter].append(index)
        self.args: list[str | int] = [WINDOW_SECONDS * 1000]
        for one, same in self._indexes.items():
            self.args += [one.subject, one.per_minute, len(same)]

    def outcomes(self, reply: Sequence[int]) -> list[Rate | RateLimited | None]:
        """What the script's reply means for each of the requests."""
        by_index: dict[int, Rate | RateLimited] = {}
        standings = zip(*[iter(reply)] * 3, strict=True)
        for (counter, same), (counted, left, milliseconds) in zip(
            self._indexes.items(), standings, strict=True
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
