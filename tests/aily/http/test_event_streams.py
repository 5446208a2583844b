"""Streams of events: as fast as the client reads, and ended when it may or can read no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from aily.concurrency.signals import Signal
from aily.http import event_streams
from aily.http.event_streams import EventStreamResponse, Interruption
from aily.web.shutdown import shutdown_event
from tests.waiting import until


class Client:
    """The other end of a stream, which reads `max_messages` and then no more."""

    def __init__(self, max_messages: int = 1_000_000) -> None:
        self.sent: list[Any] = []
        self.left = Signal()
        self._room = asyncio.Semaphore(max_messages)

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        await self._room.acquire()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        return self.sent[-1].get("more_body") is False


class Stream:
    """A response of the numbers up to `last`, then nothing, or the exception."""

    def __init__(self, last: int, then: Exception | None = None, *, ends: bool = False) -> None:
        self.made: list[int] = []
        self.closed = Signal()
        self.lost = Signal()
        self.released = False
        self._plan = (last, then, ends)

    async def events(self) -> AsyncGenerator[bytes]:
        last, then, ends = self._plan
        try:
            for number in range(last):
                self.made.append(number)
                yield b"data: %d\n\n" % number
            if then is not None:
                raise then
            if not ends:
                await asyncio.get_running_loop().create_future()
        finally:
            self.closed.set()

    @asynccontextmanager
    async def lost_access(self) -> AsyncIterator[Signal]:
        yield self.lost

    def release(self) -> None:
        self.released = True

    async def send_to(self, client: Client) -> None:
        resources = ExitStack()
        resources.callback(self.release)
        response = EventStreamResponse(
            self.events(),
            self.lost_access(),
            on_interruption=lambda reason: reason.name.encode(),
            resources=resources,
        )
        await response({"type": "http"}, client.receive, client.send)


async def test_all_events_are_sent_and_the_body_is_closed() -> None:
    client, stream = Client(), Stream(3, ends=True)
    await stream.send_to(client)
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert client.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert client.is_complete
    assert stream.released


async def _sent(client: Client, text: bytes) -> None:
    await until(lambda: text in client.body)


@pytest.mark.parametrize(
    "reason", [Interruption.DISCONNECTED, Interruption.ACCESS_LOST, Interruption.SHUTDOWN]
)
async def test_a_stream_ends_at_once_when_nobody_may_read_it(reason: Interruption) -> None:
    client, stream = Client(), Stream(2)
    sending = asyncio.create_task(stream.send_to(client))
    await _sent(client, b"data: 1")
    interrupt = {
        Interruption.DISCONNECTED: client.left.set,
        Interruption.ACCESS_LOST: stream.lost.set,
        Interruption.SHUTDOWN: shutdown_event().set,
    }
    interrupt[reason]()
    await asyncio.wait_for(sending, 20)
    assert stream.closed.is_set()
    assert stream.released
    last = b"" if reason is Interruption.DISCONNECTED else reason.name.encode()
    assert client.body == b"data: 0\n\ndata: 1\n\n" + last
    assert client.is_complete is (reason is not Interruption.DISCONNECTED)


async def test_a_stream_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    client, stream = Client(), Stream(1, ZeroDivisionError())
    await stream.send_to(client)
    assert client.body == b"data: 0\n\nFAILED"
    assert "a stream of events failed" in caplog.text


async def test_for_a_client_that_does_not_read_one_event_is_made() -> None:
    client, stream = Client(max_messages=2), Stream(100)
    sending = asyncio.create_task(stream.send_to(client))
    await _sent(client, b"data: 1")
    for _ in range(20):
        await asyncio.sleep(0)
    assert stream.made == [0, 1]
    client.left.set()
    await asyncio.wait_for(sending, 20)
    assert stream.closed.is_set()


async def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "KEEP_ALIVE_SECONDS", 0.01)
    client, stream = Client(), Stream(1)
    sending = asyncio.create_task(stream.send_to(client))
    await _sent(client, b": keep-alive\n\n: keep-alive\n\n")
    client.left.set()
    await asyncio.wait_for(sending, 20)


async def test_a_client_that_does_not_read_is_not_sent_signs_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_streams, "KEEP_ALIVE_SECONDS", 0.01)
    client, stream = Client(max_messages=1), Stream(3)
    sending = asyncio.create_task(stream.send_to(client))
    await _sent(client, b"data: 0")
    await asyncio.sleep(0.05)
    assert client.body == b"data: 0\n\n"
    client.left.set()
    await asyncio.wait_for(sending, 20)
