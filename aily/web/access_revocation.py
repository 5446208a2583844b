"""Ends open sockets and streams when the access they were opened with ends.

A web process learns of it through the channel layer when a key is revoked, a session logged out or
a user deactivated. An access that ends by itself, as a key with an expiry does, is checked when its
end has come; every other one each quarter of an hour, in case a message was lost.

This is the only use of the channel layer: rare messages for all web processes. Events of tasks go
through the hub, which needs one subscription a user and none a socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NotRequired, Protocol, TypedDict, cast

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from aily.concurrency.faults import note_fault
from aily.concurrency.jobs import Jobs
from aily.concurrency.loops import per_loop
from aily.redis.errors import RedisUnavailable
from aily.web.grant_changes import grant_watches

logger = logging.getLogger(__name__)

GROUP = "sockets"
#: Close codes: the access has ended; this process restarts, connect again.
CLOSE_UNAUTHENTICATED = 4401
CLOSE_RESTART = 4503
#: How long the first sockets of a process wait until it listens for revocations.
LISTEN_SECONDS = 2.0
#: A client that is silent for so long is pinged. Proxies cut off connections that are silent for a
#: minute, and a ping with its pong costs as much as three frames.
PING_SECONDS = 40

#: Longest time between two checks of an access; spread by a tenth.
CHECK_SECONDS = 900.0
#: Pause before the next check after one that failed.
RETRY_SECONDS = 5.0

Closer = Callable[[int], Coroutine[object, object, None]]
#: Checks the credentials again. Returns for how many seconds they are valid unless they are
#: revoked; 0 if they are not valid.
Check = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Access:
    """The credentials that a socket was opened with. In a message None means any."""

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


class _Message(TypedDict):
    """The message on the channel layer. `is_revoked` False: receivers check the access.

    `is_of_grants`: something was taken from the user, or from ANYBODY, whose access goes on.
    """

    type: str
    is_revoked: bool
    user_id: int
    api_key_id: int | None
    session: str | None
    is_of_grants: NotRequired[bool]


class _Layer(Protocol):
    async def group_send(self, group: str, message: _Message) -> None: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def new_channel(self, prefix: str) -> str: ...
    async def receive(self, channel: str) -> _Message: ...


def _channel_layer() -> _Layer:
    return cast("_Layer", get_channel_layer())


def session_hash(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()


def revoke_access(access: Access) -> None:
    """End all sockets and streams of `access`, in all web processes, once this is committed.

    While Redis is unavailable open ones stay until their next check; new ones are refused anyway.
    """
    transaction.on_commit(lambda: _publish(access, is_revoked=True))


def check_access(access: Access) -> None:
    """Have all sockets and streams opened with `access` checked, once this is committed: it may end
    at another time than they were opened with."""
    transaction.on_commit(lambda: _publish(access, is_revoked=False))


def recheck_grants(user_id: int) -> None:
    """Have all that this user, or ANYBODY, follows of others checked, once this is committed."""
    transaction.on_commit(lambda: _publish(Access(user_id), is_revoked=False, is_of_grants=True))


def _publish(access: Access, *, is_revoked: bool, is_of_grants: bool = False) -> None:
    message: _Message = {
        "type": "access.revoked",
        "is_revoked": is_revoked,
        "user_id": access.user_id,
        "api_key_id": access.api_key_id,
        "session": access.session,
        "is_of_grants": is_of_grants,
    }
    try:
        async_to_sync(_channel_layer().group_send)(GROUP, message)
    except (*RedisUnavailable, OSError) as error:
        logger.warning("user %d: open sockets are not checked now: %s", access.user_id, error)


@dataclass(slots=True, eq=False)
class Registration:
    """One socket or stream, registered while the block of `async with` lasts.

    No generator: its frame would take 0.6 KiB a socket.
    """

    _sockets: OpenSockets
    access: Access
    close: Closer
    check: Check
    valid_seconds: float
    timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._sockets.add(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sockets.remove(self)


class OpenSockets:
    """The sockets and streams of one event loop, with the access each was opened with."""

    def __init__(self) -> None:
        # A dictionary for its order: closing begins with the oldest.
        self._registrations: dict[Registration, None] = {}
        self._jobs = Jobs("the end of an access")
        self._listener: asyncio.Task[None] | None = None
        self._is_listening = asyncio.Event()

    def registered(
        self, access: Access, close: Closer, check: Check, valid_seconds: float
    ) -> Registration:
        """A context manager: from its entry on `close` is awaited with a close code when `access`
        is revoked or ends, or the process shuts down. `check` is first awaited after
        `valid_seconds`."""
        return Registration(self, access, close, check, valid_seconds)

    async def add(self, registration: Registration) -> None:
        """Used by the registration's entry. Waits until this process listens for revocations."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        self._registrations[registration] = None
        self._schedule_check(registration, registration.valid_seconds)
        if not self._is_listening.is_set():
            # Only the first sockets of a process wait; without Redis they go on after a while.
            with suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._is_listening.wait()

    def remove(self, registration: Registration) -> None:
        """Used by the registration's exit. May be called again."""
        self._registrations.pop(registration, None)
        if registration.timer is not None:
            registration.timer.cancel()

    def _schedule_check(self, registration: Registration, seconds: float) -> None:
        if registration.timer is not None:
            registration.timer.cancel()
        # Sockets that opened at the same moment are not all checked in the same moment.
        longest = CHECK_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
        # A little late: an access that ends in this millisecond has not ended yet.
        delay = min(seconds, longest) + 0.01
        loop = asyncio.get_running_loop()
        registration.timer = loop.call_later(delay, self._spawn_check, registration)

    def _spawn_check(self, registration: Registration) -> None:
        self._jobs.spawn(self._check(registration))

    async def _check(self, registration: Registration) -> None:
        try:
            valid_seconds = await registration.check()
        except Exception as error:  # noqa: BLE001 - most often an unavailable server
            # Checked again soon: an access must not last because one check failed.
            logger.warning("an access could not be checked: %r", error)
            valid_seconds = RETRY_SECONDS
        if registration not in self._registrations:
            return
        if valid_seconds > 0:
            self._schedule_check(registration, valid_seconds)
        else:
            self.remove(registration)
            await registration.close(CLOSE_UNAUTHENTICATED)

    async def _listen(self) -> None:
        layer = _channel_layer()
        while True:
            try:
                channel = await layer.new_channel("sockets.")
                await layer.group_add(GROUP, channel)
                self._is_listening.set()
                while True:
                    self._receive(await layer.receive(channel))
            except (*RedisUnavailable, OSError) as error:
                logger.warning("open sockets: Redis is unavailable (%s)", error)
                await asyncio.sleep(1)
            except Exception:  # noqa: BLE001 - logged
                # If this loop ended, revocations would have no effect in this process.
                note_fault("open sockets")
                await asyncio.sleep(1)

    def _receive(self, message: _Message) -> None:
        if message.get("is_of_grants"):
            grant_watches().note(message["user_id"])
            return
        access = Access(message["user_id"], message["api_key_id"], message["session"])
        # A process of an older version leaves it out, and means revoked.
        self._handle(access, is_revoked=message.get("is_revoked", True))

    def _handle(self, access: Access, *, is_revoked: bool) -> None:
        # A copy: closing changes the dictionary.
        for registration in list(self._registrations):
            if not access.covers(registration.access):
                continue
            # Each in a job of its own: a client that does not read would delay all later messages.
            if is_revoked:
                self.remove(registration)
                self._jobs.spawn(registration.close(CLOSE_UNAUTHENTICATED))
            else:
                self._spawn_check(registration)

    async def close_all(self, code: int, seconds: float) -> None:
        """Close every socket, evenly over `seconds`: all of them will connect again elsewhere."""
        registrations = list(self._registrations)
        closing = []
        for registration in registrations:
            # In a task of its own: a client that does not read would delay all others.
            closing.append(asyncio.ensure_future(registration.close(code)))
            await asyncio.sleep(seconds / len(registrations))
        await asyncio.gather(*closing)


@per_loop
def open_sockets() -> OpenSockets:
    """The running loop's sockets and streams."""
    return OpenSockets()
