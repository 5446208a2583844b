"""Long requests, such as event streams: they end when their access is revoked or expires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from accounts.authentication import AuthenticatedRequest, identify_again
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED, open_sockets

#: Copies of keys and users in a process are younger than this: by then those made before the
#: request came are gone.
FIRST_CHECK_SECONDS = 0.5


@asynccontextmanager
async def lost_access(request: AuthenticatedRequest) -> AsyncIterator[asyncio.Event]:
    """Yield an event that is set when the access of this request is revoked or expires."""
    lost = asyncio.Event()
    checks = count()

    async def close(code: int) -> None:
        # Not when the process stops: aily.web.shutdown ends streams then.
        if code == CLOSE_UNAUTHENTICATED:
            lost.set()

    async def holds_seconds() -> float:
        # The first check finds an access that was revoked just before this was registered. This
        # process's copies will do for it; most requests have ended by the second.
        identity = await identify_again(request, check=next(checks) > 0)
        return 0 if identity is None else identity.holds_seconds

    first_check = min(FIRST_CHECK_SECONDS, request.auth.holds_seconds)
    async with open_sockets().registered(request.auth.access, close, holds_seconds, first_check):
        yield lost
