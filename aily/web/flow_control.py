"""Limits on what one socket's client can have this process hold.

`send` of every server waits while the client does not read (aily.web.servers.daphne_websocket makes
daphne's do so); `Workload` waits while enough of the client's frames are being worked on, so that
the next is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from asgiref.typing import ASGISendCallable, ASGISendEvent

from aily.concurrency.gates import Gate


class Workload:
    """The items being worked on at once, and their bytes. A single item of any size is let in."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._items_left = max_items
        self._bytes_left = max_bytes
        self._room = Gate()

    async def enter(self, size: int) -> None:
        """Add an item once there is room. For one caller at a time."""
        await self._room.wait()
        self._items_left -= 1
        self._bytes_left -= size
        self._update_room()

    def leave(self, size: int) -> None:
        self._items_left += 1
        self._bytes_left += size
        self._update_room()

    def _update_room(self) -> None:
        if self._items_left > 0 and self._bytes_left > 0:
            self._room.open()
        else:
            self._room.close()


class FlowControl:
    """Wraps one connection's ASGI `send`."""

    def __init__(self, send: ASGISendCallable) -> None:
        self._send = send

    async def send(self, message: Mapping[str, object]) -> None:
        """Return once the client keeps up, or is gone, which `receive` reports."""
        # By ASGI 2.4 `send` raises OSError on a lost connection. daphne's does not.
        with suppress(OSError):
            await self._send(cast("ASGISendEvent", message))

    async def send_text(self, text: bytes) -> None:
        """Send a text frame of UTF-8."""
        await self.send({"type": "websocket.send", "text": text.decode()})
