"""Open sockets and streams of this process, and the news that ends the access they came with.

It comes by the channel layer when a key is revoked, a session logged out or a user shut out. An
access that ends by itself, as a key does, is looked at when its end has come; every other one each
quarter of an hour, in case its news did not get here.

The one use of the channel layer: rare news for all web processes. What tasks have to tell goes
through the hub instead, which needs one subscription a user and none a socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from aily.concurrency.faults import note_fault
from aily.concurrency.jobs import Jobs
from aily.concurrency.loops import per_loop
from aily.redis.errors import RedisUnavailable

logger = logging.getLogger(__name__)

GROUP = "sockets"
#: Close codes: the access is gone; this process restarts, connect again.
CLOSE_UNAUTHENTICATED = 4401
CLOSE_RESTART = 4503
LISTEN_SECONDS = 2.0
#: A client that is silent for so long is pinged. Proxies cut off what is silent for a minute, and a
#: ping with its pong costs as much as three frames.
PING_SECONDS = 40

#: Every access is looked at again after so long at the latest: a tenth of it more or less.
CHECK_SECONDS = 900.0
#: Pause before the next look where one failed.
AWAY_SECONDS = 5.0

Closer = Callable[[int], Coroutine[Any, Any, None]]
#: Looks at the credentials anew: for how many seconds they hold unless they are taken away; 0: they
#: do not any more.
Check = Callable[[], Coroutine[Any, Any, float]]


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
    """End all sockets and streams of `access`, in all web processes, once this is committed.

    While Redis is away open ones stay until they are looked at; new ones are refused all the same.
    """
    transaction.on_commit(lambda: _tell(access, is_revoked=True))


def check_access(access: Access) -> None:
    """Have all sockets and streams opened with `access` looked at, once this is committed: it may
    end earlier, or later, than they know."""
    transaction.on_commit(lambda: _tell(access, is_revoked=False))


def _tell(access: Access, *, is_revoked: bool) -> None:
    message = {
        "type": "access.revoked",
        "is_revoked": is_revoked,
        "user_id": access.user_id,
        "api_key_id": access.api_key_id,
        "session": access.session,
    }
    try:
        async_to_sync(get_channel_layer().group_send)(GROUP, message)
    except (*RedisUnavailable, OSError) as error:
        logger.warning("sockets of user %d stay open: %s", access.user_id, error)


@dataclass(slots=True, eq=False)
class _Opened:
    """One socket or stream."""

    access: Access
    close: Closer
    check: Check
    timer: asyncio.TimerHandle | None = None


class OpenSockets:
    """The sockets and streams of one event loop, with what they were opened with."""

    def __init__(self) -> None:
        # A dictionary for its order: closing begins with the oldest.
        self._opened: dict[_Opened, None] = {}
        self._jobs = Jobs("the end of an access")
        self._listener: asyncio.Task[None] | None = None
        self._is_listening = asyncio.Event()

    @asynccontextmanager
    async def registered(
        self, access: Access, close: Closer, check: Check, holds_seconds: float
    ) -> AsyncIterator[None]:
        """Have `close` awaited with a close code when `access` is taken away or ends, or the
        process stops, from the moment this is entered. `check` is first awaited after
        `holds_seconds`."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        opened = _Opened(access, close, check)
        self._opened[opened] = None
        self._look_after(opened, holds_seconds)
        if not self._is_listening.is_set():
            # Only the first sockets of a process wait; without Redis they go on all the same.
            with suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._is_listening.wait()
        try:
            yield
        finally:
            self._forget(opened)

    def _look_after(self, opened: _Opened, seconds: float) -> None:
        if opened.timer is not None:
            opened.timer.cancel()
        # Not all that opened at the same moment in the same moment.
        longest = CHECK_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, hides nothing
        # A little late: what ends in this millisecond has not ended yet.
        seconds = min(seconds, longest) + 0.01
        loop = asyncio.get_running_loop()
        opened.timer = loop.call_later(seconds, self._spawn_look, opened)

    def _spawn_look(self, opened: _Opened) -> None:
        self._jobs.spawn(self._look(opened))

    async def _look(self, opened: _Opened) -> None:
        try:
            holds_seconds = await opened.check()
        except Exception as error:  # noqa: BLE001 - most often a server that is away
            # Whatever it is: an access must not last because it could not be looked at once.
            logger.warning("whether an access still holds is not known: %r", error)
            holds_seconds = AWAY_SECONDS
        if opened not in self._opened:
            return
        if holds_seconds > 0:
            self._look_after(opened, holds_seconds)
        else:
            self._forget(opened)
            await opened.close(CLOSE_UNAUTHENTICATED)

    def _forget(self, opened: _Opened) -> None:
        self._opened.pop(opened, None)
        if opened.timer is not None:
            opened.timer.cancel()

    async def _listen(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                channel = await layer.new_channel("sockets.")
                await layer.group_add(GROUP, channel)
                self._is_listening.set()
                while True:
                    message = await layer.receive(channel)
                    access = Access(message["user_id"], message["api_key_id"], message["session"])
                    # An older process says nothing of it, and means revoked.
                    self._told(access, is_revoked=message.get("is_revoked", True))
            except (*RedisUnavailable, OSError) as error:
                logger.warning("open sockets: Redis is away (%s)", error)
                await asyncio.sleep(1)
            except Exception:  # noqa: BLE001 - logged
                # Without it nobody would hear any more that access is taken away.
                note_fault("open sockets")
                await asyncio.sleep(1)

    def _told(self, access: Access, *, is_revoked: bool) -> None:
        for opened in [opened for opened in self._opened if access.covers(opened.access)]:
            # Each on its own: a client that does not read would hold up all later news.
            if is_revoked:
                self._forget(opened)
                self._jobs.spawn(opened.close(CLOSE_UNAUTHENTICATED))
            else:
                self._spawn_look(opened)

    async def close_all(self, code: int, seconds: float) -> None:
        """Close every socket, evenly over `seconds`: all of them will connect again elsewhere."""
        all_opened = list(self._opened)
        closing = []
        for opened in all_opened:
            # On its own: a client that does not read would hold up all others.
            closing.append(asyncio.ensure_future(opened.close(code)))
            await asyncio.sleep(seconds / len(all_opened))
        await asyncio.gather(*closing)


@per_loop
def open_sockets() -> OpenSockets:
    """The running loop's sockets and streams."""
    return OpenSockets()
