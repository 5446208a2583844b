"""Requests a minute: a window that slides, refusals that say when to come back."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

from aily.problems import RateLimited
from aily.redis.clients import async_redis
from aily.redis.rates import Counter, Rate, count


@pytest.fixture
async def subject() -> AsyncIterator[str]:
    yield f"test:{secrets.token_hex(8)}"
    await async_redis().aclose()


async def test_each_request_leaves_one_less_until_they_are_refused(subject: str) -> None:
    counter = Counter(subject, 3)
    rates = [await count(counter) for _ in range(3)]
    assert [rate and rate.remaining for rate in rates] == [2, 1, 0]
    with pytest.raises(RateLimited) as caught:
        await count(counter)
    assert 1 <= int(caught.value.retry_after_seconds or 0) <= 60
    assert caught.value.details() == {"limit": {"name": "requests_per_minute", "value": 3}}
    assert caught.value.headers["RateLimit"].startswith('"requests";r=0;t=')


async def test_subjects_are_counted_apart(subject: str) -> None:
    await count(Counter(subject, 1))
    other = await count(Counter(f"{subject}:other", 1))
    assert other is not None
    assert other.remaining == 0


async def test_a_redis_that_is_away_refuses_nobody(subject: str, settings: Settings) -> None:
    await async_redis().aclose()
    client = async_redis()
    client.connection_pool.connection_kwargs["path"] = "/nonexistent.sock"
    assert await count(Counter(subject, 1)) is None


def test_the_headers_are_those_of_the_draft() -> None:
    assert Rate(per_minute=60, remaining=7, reset_seconds=0.2).headers() == {
        "RateLimit-Policy": '"requests";q=60;w=60',
        "RateLimit": '"requests";r=7;t=1',
    }
