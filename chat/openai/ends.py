"""Waiting on a client's connection for the end of its task."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.requests import Request

from chat.events import AnyEvent, decode
from chat.openai.accepting import AcceptedTask
from chat.openai.callers import Caller
from chat.openai.errors import OpenAIError
from chat.openai.waiting import seconds_to_wait, try_again, wait_for
from chat.services.follow import follow


async def wait_for_end(request: Request, caller: Caller, task: AcceptedTask) -> AnyEvent:
    """Return the terminal event of the request's task.

    Raises ClientDisconnect, and OpenAIError where there is no end in time, the caller's access is
    lost, or this process shuts down.
    """
    async with task:
        ending = asyncio.ensure_future(_end_of(task, caller))
        try:
            if not await wait_for(ending, request, caller, seconds_to_wait(request)):
                raise try_again("There is no answer yet: send the request again to wait for it.")
            end = ending.result()
        finally:
            ending.cancel()
            await asyncio.wait([ending])
        task.is_answered = True
    return end


async def _end_of(task: AcceptedTask, caller: Caller) -> AnyEvent:
    frames = follow(task.id, caller.owner_id, text=False, is_new=task.is_new)
    async with aclosing(frames):
        async for followed in frames:
            if followed.is_terminal:
                return decode(followed.frame)
    raise OpenAIError(500, "The request was deleted.", code="deleted")
