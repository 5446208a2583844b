"""Closing a WebSocket behind granian, whose every answer is a future of its own.

`Granian` does as granian does: one at a time may wait for the client, and the close frame is sent
once nobody does.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aily.web.servers import granian_socket
from aily.web.servers.granian_socket import GranianSocket

CLOSE = {"type": "websocket.close", "code": 4401}


class Granian:
    def __init__(self, *, is_read: bool = True) -> None:
        self.is_read = is_read
        self.waiting: list[asyncio.Future[Any]] = []
        self.sent: list[dict[str, Any]] = []

    def receive(self) -> asyncio.Future[Any]:
        return self._future()

    def send(self, message: dict[str, Any]) -> asyncio.Future[Any]:
        future = self._future()
        if self.is_read and all(waiter.done() for waiter in self.waiting[:-1]):
            self.sent.append(message)
            future.set_result(None)
        return future

    def _future(self) -> asyncio.Future[Any]:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]


async def test_closing_ends_the_wait_for_the_next_message_and_then_sends_the_frame() -> None:
    granian = Granian()
    socket = GranianSocket(granian.receive, granian.send)
    receiving = asyncio.create_task(socket.receive())
    await asyncio.sleep(0)
    await socket.send(CLOSE)
    assert granian.sent == [CLOSE]
    assert (await receiving)["type"] == "websocket.disconnect"
    assert (await socket.receive())["type"] == "websocket.disconnect"
    with pytest.raises(ConnectionResetError):
        await socket.send({"type": "websocket.send", "text": "late"})


async def test_a_client_that_does_not_read_holds_up_the_end_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(granian_socket, "CLOSE_SECONDS", 0.05)
    granian = Granian(is_read=False)
    socket = GranianSocket(granian.receive, granian.send)
    sending = asyncio.create_task(socket.send({"type": "websocket.send", "text": "much"}))
    await asyncio.sleep(0)
    closing = asyncio.create_task(socket.send(CLOSE))
    with pytest.raises(ConnectionResetError):
        await sending
    # The application hears of the end only when the frame has had its time.
    assert (await socket.receive())["type"] == "websocket.disconnect"
    assert closing.done()
    assert all(waiter.cancelled() for waiter in granian.waiting)


async def test_who_is_cancelled_stays_cancelled() -> None:
    granian = Granian(is_read=False)
    socket = GranianSocket(granian.receive, granian.send)
    sending = asyncio.create_task(socket.send({"type": "websocket.send", "text": "much"}))
    await asyncio.sleep(0)
    granian.is_read = True
    sending.cancel()
    await socket.send(CLOSE)
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_lost_connection_is_an_oserror() -> None:
    granian = Granian(is_read=False)
    socket = GranianSocket(granian.receive, granian.send)
    sending = asyncio.create_task(socket.send({"type": "websocket.send", "text": "much"}))
    await asyncio.sleep(0)
    granian.waiting[0].set_exception(RuntimeError("Transport not initialized or closed"))
    with pytest.raises(OSError, match="Transport"):
        await sending
