"""Long requests, such as event streams: they end when their access is revoked or expires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol, cast

from accounts.authentication import AuthenticatedRequest, identify_again
from aily.concurrency.loops import per_loop
from aily.concurrency.signals import Signal
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED, Access, open_sockets

#: Copies of keys and users in a process are younger than this: by then those made before the
#: request came are gone.
FIRST_CHECK_SECONDS = 0.5
#: How long a watch over the access of requests lasts after the last of them: the next request needs
#: no watch of its own, and no check half a second after it came.
LINGER_SECONDS = 10.0
#: Timers of an event loop may be early by this, in seconds.
_TIMER_PRECISION = 0.002


class Credentials(Protocol):
    """The credentials that a request was made with."""

    @property
    def access(self) -> Access: ...
    @property
    def valid_seconds(self) -> float: ...
    async def identify_again(self, *, check: bool) -> _Holding | None:
        """Return the credentials anew, None if they do not work any more. `check`: bypass this
        process's copies."""


class _Holding(Protocol):
    @property
    def valid_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class _OfRequest:
    """The credentials of a request to Django."""

    request: AuthenticatedRequest

    @property
    def access(self) -> Access:
        return self.request.auth.access

    @property
    def valid_seconds(self) -> float:
        return self.request.auth.valid_seconds

    async def identify_again(self, *, check: bool) -> _Holding | None:
        return await identify_again(self.request, check=check)


@asynccontextmanager
async def lost_access(request: AuthenticatedRequest) -> AsyncIterator[Signal]:
    """Yield a signal that is set when the access of this request is revoked or expires."""
    watch = _Watch(_OfRequest(request))
    try:
        await watch.begin()
        yield watch.lost
    finally:
        watch.end()


@asynccontextmanager
async def lost_credentials(credentials: Credentials) -> AsyncIterator[Signal]:
    """`lost_access` by credentials. Requests with the same ones are watched together."""
    watches, access = _watches(), credentials.access
    watch = watches.get(access)
    if watch is None or watch.lost.is_set():
        watch = watches[access] = _Watch(credentials)
    watch.users += 1
    try:
        await watch.begin()
        yield watch.lost
    finally:
        watch.users -= 1
        if not watch.users:
            watch.linger(partial(_drop, watches, access, watch))


async def while_accessible(
    pieces: AsyncGenerator[bytes], lost_access: AbstractAsyncContextManager[Signal]
) -> AsyncGenerator[bytes]:
    """Give the pieces of a download, until access is lost.

    Then the task that sends them is cancelled, even while it waits for a client that reads slowly.
    Its server cuts the connection, so that the client does not take what came for the whole.
    """
    sending = cast("asyncio.Task[None]", asyncio.current_task())
    cut = sending.cancel
    async with aclosing(pieces), lost_access as lost:
        lost.subscribe(cut)
        try:
            async for piece in pieces:
                yield piece
        finally:
            lost.unsubscribe(cut)


def _drop(watches: dict[Access, _Watch], access: Access, watch: _Watch) -> None:
    """End a watch that nothing has used for a while."""
    watch.end()
    if watches.get(access) is watch:
        del watches[access]


@per_loop
def _watches() -> dict[Access, _Watch]:
    """The running loop's watches over the access of requests with API keys."""
    return {}


class _Watch:
    """The watch over one access, for all requests that it was used for."""

    def __init__(self, credentials: Credentials) -> None:
        self.lost = Signal()
        self.users = 0
        self._credentials = credentials
        self._checks = count()
        first_check = min(FIRST_CHECK_SECONDS, credentials.valid_seconds)
        self._registration = open_sockets().registered(
            credentials.access, self._close, self._valid_seconds, first_check
        )
        self._is_begun = False
        self._can_begin = asyncio.Lock()
        #: Set while nothing uses it: when it was used last, in the time of the loop.
        self._unused_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Return once this process receives revocations. May be called again."""
        if self._is_begun:
            return
        async with self._can_begin:
            if not self._is_begun:
                await open_sockets().add(self._registration)
                self._is_begun = True

    def linger(self, drop: Callable[[], None]) -> None:
        """Call `drop` once nothing has used it for LINGER_SECONDS. One timer serves all."""
        self._unused_since = asyncio.get_running_loop().time()
        if self._timer is None:
            self._look_after(LINGER_SECONDS, drop)

    def _look_after(self, seconds: float, drop: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._drop_if_unused, drop)

    def _drop_if_unused(self, drop: Callable[[], None]) -> None:
        self._timer = None
        if self.users:
            return
        left = self._unused_since + LINGER_SECONDS - asyncio.get_running_loop().time()
        if left > _TIMER_PRECISION:
            self._look_after(left, drop)
        else:
            drop()

    def end(self) -> None:
        open_sockets().remove(self._registration)

    async def _close(self, code: int) -> None:
        # Not when the process stops: aily.web.shutdown ends streams then.
        if code == CLOSE_UNAUTHENTICATED:
            self.lost.set()

    async def _valid_seconds(self) -> float:
        # The first check finds an access that was revoked just before this was registered. This
        # process's copies will do for it; most requests have ended by the second.
        is_first = next(self._checks) == 0
        found = await self._credentials.identify_again(check=not is_first)
        return 0 if found is None else found.valid_seconds
