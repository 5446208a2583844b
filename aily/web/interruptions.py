"""Why a stream or a waiting request ends before what it waits for has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from functools import partial

from starlette.types import Receive

from aily.concurrency.signals import Signal
from aily.web.shutdown import shutdown_event


class Interruption(Enum):
    #: The client has closed its connection.
    DISCONNECTED = auto()
    #: The access of the request was revoked, or has expired.
    ACCESS_LOST = auto()
    #: The process shuts down.
    SHUTDOWN = auto()
    #: What is waited for asks its user something.
    ASKED = auto()
    #: The longest time that a request may wait is over.
    TIMED_OUT = auto()
    #: Making the next event of a stream has failed; it is in the log.
    FAILED = auto()


@asynccontextmanager
async def interruption_of(
    receive: Receive, lost: Signal
) -> AsyncIterator[asyncio.Future[Interruption]]:
    """Yield a future whose result is the first interruption of a request whose body was read: by
    its client, by the loss of its access, or by the shutdown of this process."""
    interruption: asyncio.Future[Interruption] = asyncio.get_running_loop().create_future()

    def interrupt(reason: Interruption) -> None:
        if not interruption.done():
            interruption.set_result(reason)

    def has_read(reading: asyncio.Future[None]) -> None:
        # What reading raised says the same; unread, it would be logged.
        if not reading.cancelled():
            reading.exception()
        interrupt(Interruption.DISCONNECTED)

    reading = asyncio.ensure_future(disconnected(receive))
    reading.add_done_callback(has_read)
    callbacks = {
        lost: partial(interrupt, Interruption.ACCESS_LOST),
        shutdown_event(): partial(interrupt, Interruption.SHUTDOWN),
    }
    for signal, callback in callbacks.items():
        signal.subscribe(callback)
    try:
        yield interruption
    finally:
        interruption.cancel()
        reading.cancel()
        for signal, callback in callbacks.items():
            signal.unsubscribe(callback)


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed its connection. Its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
