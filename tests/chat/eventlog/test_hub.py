"""The hub: one subscription for all feeds, that ends and begins again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aily.redis.clients import async_redis
from chat.eventlog import Feed, FeedPool, Notice, get_hub
from chat.eventlog.keys import user_channel
from chat.eventlog.notices import encode_notice
from tests.clocks import LoopClock

OWNER = 7
TASK_ID = "0198c0de-9c33-7000-8000-0123456789ab"


async def publish(frame: bytes) -> None:
    await async_redis().publish(user_channel(OWNER), encode_notice(Notice(None, TASK_ID, frame)))


async def test_a_feed_that_is_entered_after_the_hub_was_closed_begins_anew(
    loop_services: None,
) -> None:
    hub = get_hub()
    for frame in (b"first", b"second"):
        async with hub.user_feed(OWNER, skip=lambda _: False) as feed:
            await publish(frame)
            async with asyncio.timeout(10):
                while (notice := await feed.next()) is None:
                    feed.clear_lag()
            assert notice.frame == frame
        await hub.aclose()
    await hub.aclose()


async def test_the_ends_of_a_user_are_kept_for_a_while_after_the_last_request(
    loop_services: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, clock = get_hub(), LoopClock(monkeypatch)
    planned: list[float] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def counted(delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        if callback == hub._drop_ends:
            planned.append(delay)
        return call_later(delay, callback, *args)

    monkeypatch.setattr(loop, "call_later", counted)
    async with hub.user_ends(OWNER) as ends:
        pass
    clock.advance(9)
    for _ in range(3):
        async with hub.user_ends(OWNER) as again:
            assert again is ends
    # Ten seconds after the first request, and one after the last.
    clock.advance(1.5)
    await asyncio.sleep(0.01)
    async with hub.user_ends(OWNER) as again:
        assert again is ends
    assert len(planned) == 2, "one timer does for all of them"
    clock.advance(11)
    await asyncio.sleep(0.01)
    clock.advance(11)
    await asyncio.sleep(0.01)
    async with hub.user_ends(OWNER) as other:
        assert other is not ends


async def test_a_feed_waits_for_no_longer_than_its_timeout() -> None:
    feed = Feed(max_bytes=100)
    assert await feed.next(0.01) is None
    feed.push(Notice(None, TASK_ID, b"frame"))
    assert (await feed.next(60)) == Notice(None, TASK_ID, b"frame")


async def test_a_feed_beyond_its_bytes_is_lagging_until_that_is_cleared() -> None:
    feed = Feed(max_bytes=10)
    # The first may have any size.
    feed.push(Notice(None, TASK_ID, b"x" * 20))
    assert (await feed.next()) is not None
    feed.push(Notice(None, TASK_ID, b"x" * 20))
    feed.push(Notice(None, TASK_ID, b"y"))
    assert await feed.next() is None
    feed.clear_lag()
    feed.push(Notice(None, TASK_ID, b"z"))
    notice = await feed.next()
    assert notice is not None
    assert notice.frame == b"z"


async def test_feeds_of_a_pool_share_its_bytes() -> None:
    pool = FeedPool(max_bytes=10)
    first, second = Feed(100, pool=pool), Feed(100, pool=pool)
    first.push(Notice(None, TASK_ID, b"x" * 8))
    second.push(Notice(None, TASK_ID, b"y"))
    second.push(Notice(None, TASK_ID, b"y" * 8))
    assert (first.is_lagging, second.is_lagging, pool.kept_bytes) == (False, True, 8)
    first.clear()
    assert pool.kept_bytes == 0


async def test_a_follower_that_is_cancelled_while_it_waits_leaves_the_feed_usable() -> None:
    feed = Feed(max_bytes=100)
    waiting = asyncio.create_task(feed.next())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    feed.push(Notice(None, TASK_ID, b"frame"))
    assert await feed.next() is not None
