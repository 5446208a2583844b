"""What granian leaves undone about a WebSocket, done between it and the application.

Its close frame waits until nobody waits for the client's next message or in `send`, and for ever
for a client that does not read. So a close here ends all such waiting first, and itself after a
while, with the connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

#: How long a client that does not read holds up the close frame.
CLOSE_SECONDS = 5.0


class GranianSocket:
    """Wraps one connection's ASGI `receive` and `send`."""

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send
        #: What granian was asked for and has not done yet.
        self._pending: set[Any] = set()
        #: There once the application closes, done once the frame is out or given up.
        self._closed: asyncio.Future[None] | None = None

    async def receive(self) -> Any:
        """As ASGI's; what the application closed itself is a disconnect as well."""
        if self._closed is None:
            with suppress(OSError):
                return await self._wait_for(self._receive())
        if self._closed is not None:
            # Not before: who hears of the end may cancel whoever sends the frame.
            await asyncio.shield(self._closed)
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(self, message: dict[str, Any]) -> None:
        """As ASGI's. Raises OSError, as ASGI 2.4 asks, when there is no connection any more."""
        if self._closed is not None:
            raise ConnectionResetError
        if message["type"] == "websocket.close":
            await self._close(message)
            return
        await self._wait_for(self._send(message))

    async def _close(self, message: dict[str, Any]) -> None:
        self._closed = asyncio.get_running_loop().create_future()
        self.interrupt()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send(message)
        except (TimeoutError, RuntimeError):
            # Given up: granian has dropped the connection, as it does when the client is gone.
            pass
        finally:
            self._closed.set_result(None)

    def interrupt(self) -> None:
        """End all waiting. granian would block the event loop for a `send` that outlives the
        application."""
        for asked in list(self._pending):
            asked.cancel()

    async def _wait_for(self, asked: Any) -> Any:
        """Await what granian returned. Raises OSError when the connection ended meanwhile."""
        self._pending.add(asked)
        try:
            return await asked
        except RuntimeError as error:
            raise ConnectionResetError(str(error)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed is None or (task is not None and task.cancelling()):
                raise
            raise ConnectionResetError from None
        finally:
            self._pending.discard(asked)
