"""Open sockets of this process, and the word that takes away the access they were opened with.

The one use of the channel layer: rare news for all web processes. What tasks have to tell goes
through the hub instead, which needs one subscription a user and none a socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from aily.faults import note_fault
from aily.jobs import Jobs
from aily.loops import per_loop
from aily.redis import RedisAway

logger = logging.getLogger(__name__)

GROUP = "sockets"
#: Close codes: the access is gone; this process restarts, connect again.
CLOSE_UNAUTHENTICATED = 4401
CLOSE_RESTART = 4503
LISTEN_SECONDS = 2.0
#: A client that is silent for so long is pinged. Proxies cut off what is silent for a minute, and a
#: ping with its pong costs as much as three frames.
PING_SECONDS = 40

Closer = Callable[[int], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Access:
    """What a socket was opened with. As news: None means whatever it was."""

    user_id: int
    api_key_id: int | None = None
    #: Hash of the session's key, which is a secret.
    session: str | None = None

    def covers(self, other: Access) -> bool:
        return (
            self.user_id == other.user_id
            and self.api_key_id in (None, other.api_key_id)
            and self.session in (None, other.session)
        )


def session_hash(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()


def revoke_access(access: Access) -> None:
    """Close all sockets opened with `access`, in all web processes, once this is committed.

    While Redis is away open sockets stay; new ones are refused all the same.
    """
    transaction.on_commit(lambda: _tell(access))


def _tell(access: Access) -> None:
    message = {
        "type": "access.revoked",
        "user_id": access.user_id,
        "api_key_id": access.api_key_id,
        "session": access.session,
    }
    try:
        async_to_sync(get_channel_layer().group_send)(GROUP, message)
    except (*RedisAway, OSError) as error:
        logger.warning("sockets of user %d stay open: %s", access.user_id, error)


class OpenSockets:
    """The sockets of one event loop, by what they were opened with."""

    def __init__(self) -> None:
        self._closers: dict[Closer, Access] = {}
        self._closing = Jobs("the closing of a socket")
        self._listener: asyncio.Task[None] | None = None
        self._is_listening = asyncio.Event()

    @asynccontextmanager
    async def registered(self, access: Access, close: Closer) -> AsyncIterator[None]:
        """Have `close` awaited with a close code when `access` is taken away or the process stops,
        from the moment this is entered."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        self._closers[close] = access
        if not self._is_listening.is_set():
            # Only the first sockets of a process wait; without Redis they go on all the same.
            with suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._is_listening.wait()
        try:
            yield
        finally:
            del self._closers[close]

    async def _listen(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                channel = await layer.new_channel("sockets.")
                await layer.group_add(GROUP, channel)
                self._is_listening.set()
                while True:
                    message = await layer.receive(channel)
                    revoked = Access(message["user_id"], message["api_key_id"], message["session"])
                    self._close(revoked)
            except (*RedisAway, OSError) as error:
                logger.warning("open sockets: Redis is away (%s)", error)
                await asyncio.sleep(1)
            except Exception:  # noqa: BLE001 - logged
                # Without it nobody would hear any more that access is taken away.
                note_fault("open sockets")
                await asyncio.sleep(1)

    def _close(self, revoked: Access) -> None:
        closers = [close for close, access in self._closers.items() if revoked.covers(access)]
        for close in closers:
            # On its own: a client that does not read would hold up all later news.
            self._closing.spawn(close(CLOSE_UNAUTHENTICATED))

    async def close_all(self, code: int, seconds: float) -> None:
        """Close every socket, evenly over `seconds`: all of them will connect again elsewhere."""
        closers = list(self._closers)
        closing = []
        for close in closers:
            # On its own: a client that does not read would hold up all others.
            closing.append(asyncio.ensure_future(close(code)))
            await asyncio.sleep(seconds / len(closers))
        await asyncio.gather(*closing)


@per_loop
def open_sockets() -> OpenSockets:
    """The running loop's sockets."""
    return OpenSockets()
