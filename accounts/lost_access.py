"""Requests that last: they end when the access that they came with does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from accounts.authentication import AuthenticatedRequest, identify_again
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED, open_sockets

#: By then no process uses a copy of the key or user any more that was made before the request came.
FIRST_LOOK_SECONDS = 0.5


@asynccontextmanager
async def lost_access(request: AuthenticatedRequest) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the access of this request is taken away, or ends."""
    lost = asyncio.Event()
    looks = count()

    async def close(code: int) -> None:
        # What a process that stops has to say is said by `aily.web.shutdown`.
        if code == CLOSE_UNAUTHENTICATED:
            lost.set()

    async def holds_seconds() -> float:
        # The first look is for what was taken away just before there was anybody to tell. It asks
        # nobody where the process's copies are good: most requests end soon after.
        identity = await identify_again(request, check=next(looks) > 0)
        return 0 if identity is None else identity.holds_seconds

    first_look = min(FIRST_LOOK_SECONDS, request.auth.holds_seconds)
    async with open_sockets().registered(request.auth.access, close, holds_seconds, first_look):
        yield lost
