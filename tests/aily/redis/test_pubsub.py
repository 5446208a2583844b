"""Messages of a subscription come whole and in order, and the loss of its connection is raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import redis
from pytest_django import Settings

from aily.redis import pubsub as module
from aily.redis.clients import async_redis, close_async_clients
from aily.redis.pubsub import PubSubMessage, listen, subscriber_client
from tests.ports import free_ports


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    yield async_redis()
    await close_async_clients()


async def test_messages_and_confirmations_of_one_read_all_arrive(client: Any) -> None:
    async with subscriber_client() as subscriber, subscriber.pubsub() as pubsub:
        await pubsub.subscribe("news")
        pipe = client.pipeline(transaction=False)
        for number in range(300):
            pipe.publish("news", str(number))
        await pipe.execute()
        await pubsub.subscribe("more")
        await pubsub.unsubscribe("more")
        await client.publish("news", "end")
        # All of it waits in the socket now: a server answers in order.
        found: list[PubSubMessage] = []
        async with asyncio.timeout(10), aclosing(listen(pubsub)) as messages:
            async for message in messages:
                found.append(message)
                if message.data == b"end":
                    break
        # Or a process would keep the names of all channels that it was ever subscribed to.
        assert list(pubsub.channels) == [b"news"]
    assert found[0].kind == "subscribe"
    assert [message.data for message in found if message.kind == "message"] == [
        *(str(number).encode() for number in range(300)),
        b"end",
    ]
    confirmed = [(message.kind, message.channel) for message in found[1:]]
    assert confirmed[-3:-1] == [("subscribe", b"more"), ("unsubscribe", b"more")]


async def test_a_subscription_that_is_cut_off_raises(client: Any) -> None:
    async with subscriber_client() as subscriber, subscriber.pubsub() as pubsub:
        await pubsub.subscribe("news")
        messages = listen(pubsub)
        assert (await anext(messages)).kind == "subscribe"
        await client.client_kill_filter(_type="pubsub")
        with pytest.raises(redis.ConnectionError):
            await anext(messages)


async def test_a_task_whose_cancelling_was_swallowed_is_cancelled_all_the_same(client: Any) -> None:
    """As redis-py may do while it connects; the task would else go on for ever."""

    async def subscribe_and_listen() -> None:
        async with subscriber_client() as subscriber, subscriber.pubsub() as pubsub:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await pubsub.subscribe("news")
            async for _ in listen(pubsub):
                pass

    task = asyncio.create_task(subscribe_and_listen())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await task


async def test_a_quiet_subscription_to_a_living_server_goes_on(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each ping is to be answered within as long.
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.8)
    async with subscriber_client() as subscriber, subscriber.pubsub() as pubsub:
        await pubsub.subscribe("news")
        async with asyncio.timeout(20), aclosing(listen(pubsub)) as messages:
            kinds = [(await anext(messages)).kind for _ in range(3)]
            await client.publish("news", "at last")
            while (message := await anext(messages)).kind != "message":
                pass
    assert kinds == ["subscribe", "pong", "pong"]
    assert message == PubSubMessage("message", b"news", b"at last")


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Confirms a subscription, and then answers nothing, as behind a network that swallows packets.

    Yields its URL.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if b"SETINFO" in data:
                writer.write(b"+OK\r\n" * data.count(b"SETINFO"))
            if b"SUBSCRIBE" in data:
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
        writer.close()

    [port] = free_ports(1)
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield f"redis://127.0.0.1:{port}/0"


async def test_a_server_that_answers_no_ping_counts_as_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    async with silent_server() as url:
        settings.REDIS_URL = url
        async with subscriber_client() as subscriber, subscriber.pubsub() as pubsub:
            await pubsub.subscribe("news")
            messages = listen(pubsub)
            async with asyncio.timeout(10):
                assert (await anext(messages)).kind == "subscribe"
                with pytest.raises(redis.ConnectionError):
                    await anext(messages)


async def test_a_subscription_that_ends_leaves_no_watchdog(client: Any) -> None:
    before = asyncio.all_tasks()
    async with subscriber_client() as subscriber, subscriber.pubsub() as pubsub:
        await pubsub.subscribe("news")
        async with aclosing(listen(pubsub)) as messages:
            await anext(messages)
            assert len(asyncio.all_tasks() - before) == 1
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
