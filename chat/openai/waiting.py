"""Waits on a client's connection: until the work is done, or the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from django.conf import settings
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from aily.concurrency.signals import Signal
from aily.web.interruptions import Interruption, disconnected, interruption_of
from chat.openai.callers import Caller
from chat.openai.errors import OpenAIError, TryAgainError

#: The client's own time limit in seconds, which OpenAI's clients send.
_READ_TIMEOUT = "x-stainless-read-timeout"
#: A client that waits for less than this wants its own error at that time.
_MIN_READ_TIMEOUT = 10.0
#: Retry-After of an answer that says: wait again. The task goes on meanwhile.
AGAIN_SECONDS = 1


def seconds_to_wait(request: Request) -> float:
    """How long a plain request waits, so that it is answered before its client gives up."""
    longest: float = settings.OPENAI_WAIT_SECONDS
    try:
        read_timeout = float(request.headers.get(_READ_TIMEOUT, ""))
    except ValueError:
        return longest
    # A second, and a hundredth, for the way of the answer.
    return min(longest, read_timeout * 0.99 - 1) if read_timeout >= _MIN_READ_TIMEOUT else longest


async def wait_for(
    work: asyncio.Future[Any], request: Request, caller: Caller, seconds: float
) -> bool:
    """Wait until the work is done, True, or for so long, False.

    Raises ClientDisconnect, and OpenAIError where the caller's access is lost or this process
    shuts down: in the last case the client's next try finds another one.
    """
    async with (
        caller.lost_access() as lost,
        interruption_of(request.receive, lost) as interruption,
    ):
        await asyncio.wait(
            [work, interruption], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if work.done():
            return True
        if interruption.done():
            raise interrupted(interruption.result())
    return False


@asynccontextmanager
async def disconnection(receive: Receive) -> AsyncIterator[Signal]:
    """Yield a signal that is set when the client closes its connection, whose body was read."""
    gone = Signal()
    watching = asyncio.ensure_future(disconnected(receive))
    watching.add_done_callback(lambda _: gone.set())
    try:
        yield gone
    finally:
        watching.cancel()


def interrupted(reason: Interruption) -> Exception:
    """What ends a request that is interrupted for this reason."""
    match reason:
        case Interruption.DISCONNECTED:
            return ClientDisconnect()
        case Interruption.ACCESS_LOST:
            message = "This API key was revoked, or has expired."
            return OpenAIError(HTTPStatus.UNAUTHORIZED, message, code="invalid_api_key")
        case Interruption.SHUTDOWN:
            return _try_again("This server is being restarted: send the request again.")
        case Interruption.TIMED_OUT:
            return _try_again("There is no answer yet: send the request again to wait for it.")
        case Interruption.ASKED:
            return _try_again("It waits for an answer of its user: send the request again.")
        case Interruption.FAILED:
            message = "Something went wrong here. It has been logged."
            return OpenAIError(HTTPStatus.INTERNAL_SERVER_ERROR, message)


def _try_again(message: str) -> TryAgainError:
    headers = {"Retry-After": str(AGAIN_SECONDS), "x-should-retry": "true"}
    return TryAgainError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=headers)
