"""Plain requests: their task is submitted, and its end waited for on the client's connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from chat.events import TaskCompleted
from chat.openai.accepting import TASK_ID_HEADER, AcceptedTask, Incoming, accept
from chat.openai.callers import Caller
from chat.openai.errors import OpenAIError
from chat.openai.task_errors import error_of
from chat.services.waiting import ends_of


async def run_to_end(
    request: Request, caller: Caller, incoming: Incoming
) -> tuple[AcceptedTask, TaskCompleted]:
    """Submit the task, or find that of the request which this one repeats, and wait for its end.

    Raises Problem where it is not accepted; ClientDisconnect; and OpenAIError, which names the
    task, where it has failed, did not end in time, or must not be waited for any longer.
    """
    async with ends_of(caller.owner_id) as ends:
        task = await accept(request, caller, incoming)
        with naming(task):
            end = await task.wait_for_end(ends, request, caller)
            if not isinstance(end.event, TaskCompleted):
                raise error_of(end.event)
    return task, end.event


@contextmanager
def naming(task: AcceptedTask) -> Iterator[None]:
    """Let an error name the task, which has all that is known of it."""
    try:
        yield
    except OpenAIError as error:
        error.headers[TASK_ID_HEADER] = task.id
        raise
