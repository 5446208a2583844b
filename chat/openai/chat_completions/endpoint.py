"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from time import perf_counter

from starlette.requests import Request
from starlette.responses import Response

from aily.http.bodies import decode_body, read_body
from aily.http.event_streams import EventStreamResponse, Interruption
from aily.web.connections import connections
from chat.events import AnyEvent, TaskCompleted, decode
from chat.openai.accepting import AcceptedTask, accept
from chat.openai.callers import Caller, caller_of
from chat.openai.chat_completions.answers import Answer
from chat.openai.chat_completions.body import ChatCompletionRequest, read_request
from chat.openai.chat_completions.stream import ChatStream, server_sent
from chat.openai.errors import JSON_TYPE, OpenAIError
from chat.openai.results import whole_result
from chat.openai.task_errors import error_of
from chat.openai.waiting import interrupted, seconds_to_wait, try_again, wait_for
from chat.services.follow import follow

#: Names the task under /api/llmchat/tasks/.
TASK_ID_HEADER = "aily-task-id"
#: How long a stream's first event is waited for before the response begins: until then an error has
#: a status of its own.
FIRST_EVENT_SECONDS = 5.0


async def create_chat_completion(request: Request) -> Response:
    """Run a chat completion, whole or as a stream."""
    began = perf_counter()
    caller = await caller_of(request)
    body = await read_body(request)
    asked = await read_request(decode_body(request, body), request.headers)
    with ExitStack() as resources:
        if asked.is_stream:
            resources.enter_context(connections().opened(caller.owner_id))
        task = await accept(request, caller, body, asked.task)
        try:
            if asked.is_stream:
                response = await _stream(request, caller, task, asked, resources.pop_all())
            else:
                response = await _whole(request, caller, task, asked)
        except OpenAIError as error:
            error.headers[TASK_ID_HEADER] = task.id
            raise
    milliseconds = round((perf_counter() - began) * 1000)
    response.headers["openai-processing-ms"] = str(milliseconds)
    response.headers[TASK_ID_HEADER] = task.id
    return response


# --- Whole --------------------------------------------------------------------------------------
async def _whole(
    request: Request, caller: Caller, task: AcceptedTask, asked: ChatCompletionRequest
) -> Response:
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
    if not isinstance(end, TaskCompleted):
        raise error_of(end)
    answer = Answer(task.id, asked)
    return Response(answer.whole(await whole_result(end), end.usage), media_type=JSON_TYPE)


async def _end_of(task: AcceptedTask, caller: Caller) -> AnyEvent:
    frames = follow(task.id, caller.owner_id, text=False, is_new=task.is_new)
    async with aclosing(frames):
        async for followed in frames:
            if followed.is_terminal:
                return decode(followed.frame)
    raise OpenAIError(500, "The request was deleted.", code="deleted")


# --- Streams ------------------------------------------------------------------------------------
async def _stream(
    request: Request,
    caller: Caller,
    task: AcceptedTask,
    asked: ChatCompletionRequest,
    resources: ExitStack,
) -> Response:
    with resources:
        events = _events(task, caller, asked)
        first = asyncio.ensure_future(anext(events))
        try:
            if await wait_for(first, request, caller, FIRST_EVENT_SECONDS):
                # An error before the response begins is raised here.
                first.result()
        except BaseException:
            first.cancel()
            await asyncio.wait([first])
            await events.aclose()
            raise
        return EventStreamResponse(
            _with_errors(first, events),
            caller.lost_access(),
            on_interruption=_last_event,
            resources=resources.pop_all(),
        )


async def _events(
    task: AcceptedTask, caller: Caller, asked: ChatCompletionRequest
) -> AsyncGenerator[bytes]:
    """Yield the events of the answer. Raises OpenAIError where the task has none."""
    stream = ChatStream(task.id, asked)
    frames = follow(task.id, caller.owner_id, is_new=task.is_new)
    async with task, aclosing(frames):
        try:
            async for event in stream.events(frames):
                yield event
        finally:
            task.is_answered = stream.has_ended


async def _with_errors(
    first: asyncio.Future[bytes], events: AsyncGenerator[bytes]
) -> AsyncGenerator[bytes]:
    """Yield the first event and those after it. An error becomes the last event."""
    async with aclosing(events):
        try:
            yield await first
            async for event in events:
                yield event
        except OpenAIError as error:
            yield _error_event(error)
        finally:
            first.cancel()
            await asyncio.wait([first])


def _error_event(error: OpenAIError) -> bytes:
    return server_sent(json.dumps(error.body()).encode())


def _last_event(reason: Interruption) -> bytes:
    error = interrupted(reason)
    return _error_event(error) if isinstance(error, OpenAIError) else b""
