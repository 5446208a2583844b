"""Long requests, such as event streams: they end when their access is revoked or expires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from accounts.authentication import AuthenticatedRequest, identify_again
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED, Access, open_sockets

#: Copies of keys and users in a process are younger than this: by then those made before the
#: request came are gone.
FIRST_CHECK_SECONDS = 0.5


class Credentials(Protocol):
    """The credentials that a request was made with."""

    @property
    def access(self) -> Access: ...
    @property
    def holds_seconds(self) -> float: ...
    async def identify_again(self, *, check: bool) -> _Holding | None:
        """Return the credentials anew, None if they do not work any more. `check`: bypass this
        process's copies."""


class _Holding(Protocol):
    @property
    def holds_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class _OfRequest:
    """The credentials of a request to Django."""

    request: AuthenticatedRequest

    @property
    def access(self) -> Access:
        return self.request.auth.access

    @property
    def holds_seconds(self) -> float:
        return self.request.auth.holds_seconds

    async def identify_again(self, *, check: bool) -> _Holding | None:
        return await identify_again(self.request, check=check)


def lost_access(request: AuthenticatedRequest) -> AbstractAsyncContextManager[asyncio.Event]:
    """Yield an event that is set when the access of this request is revoked or expires."""
    return lost_credentials(_OfRequest(request))


@asynccontextmanager
async def lost_credentials(credentials: Credentials) -> AsyncIterator[asyncio.Event]:
    """Yield an event that is set when these credentials are revoked or expire."""
    lost = asyncio.Event()
    checks = count()

    async def close(code: int) -> None:
        # Not when the process stops: aily.web.shutdown ends streams then.
        if code == CLOSE_UNAUTHENTICATED:
            lost.set()

    async def holds_seconds() -> float:
        # The first check finds an access that was revoked just before this was registered. This
        # process's copies will do for it; most requests have ended by the second.
        found = await credentials.identify_again(check=next(checks) > 0)
        return 0 if found is None else found.holds_seconds

    first_check = min(FIRST_CHECK_SECONDS, credentials.holds_seconds)
    async with open_sockets().registered(credentials.access, close, holds_seconds, first_check):
        yield lost
