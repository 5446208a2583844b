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
from aily.http.event_streams import EventStreamResponse
from aily.web.connections import connections
from aily.web.interruptions import Interruption
from chat.openai.accepting import AcceptedTask, Incoming, accept
from chat.openai.callers import Caller, caller_of
from chat.openai.chat_completions.answers import Answer
from chat.openai.chat_completions.body import AnswerForm, read_request
from chat.openai.chat_completions.stream import ChatStream, server_sent
from chat.openai.ends import naming, run_to_end
from chat.openai.errors import JSON_TYPE, OpenAIError, TryAgainError
from chat.openai.waiting import interrupted, wait_for
from chat.services.follow import follow

#: How long a stream's first event is waited for before the response begins: until then an error has
#: a status of its own.
FIRST_EVENT_SECONDS = 5.0


async def create_chat_completion(request: Request) -> Response:
    """Run a chat completion, whole or as a stream."""
    began = perf_counter()
    caller = await caller_of(request)
    incoming, form = await _read(request)
    respond = _stream if form.is_stream else _whole
    response = await respond(request, caller, incoming, form)
    milliseconds = round((perf_counter() - began) * 1000)
    response.headers["openai-processing-ms"] = str(milliseconds)
    return response


async def _read(request: Request) -> tuple[Incoming, AnswerForm]:
    body = await read_body(request)
    task, form = await read_request(decode_body(request, body), request.headers)
    return Incoming(body, task), form


# --- Whole --------------------------------------------------------------------------------------
async def _whole(
    request: Request, caller: Caller, incoming: Incoming, form: AnswerForm
) -> Response:
    task, end = await run_to_end(request, caller, incoming)
    answer = Answer(task.id, form).whole(end.result, end.usage)
    return Response(answer, headers=task.headers(), media_type=JSON_TYPE)


# --- Streams ------------------------------------------------------------------------------------
async def _stream(
    request: Request, caller: Caller, incoming: Incoming, form: AnswerForm
) -> Response:
    with ExitStack() as resources:
        resources.enter_context(connections().opened(caller.owner_id))
        task = await accept(request, caller, incoming)
        events = _events(task, caller, form)
        first = asyncio.ensure_future(anext(events))
        with naming(task):
            await _until_begun(first, events, request, caller, task)
        return EventStreamResponse(
            _with_errors(first, events),
            caller.lost_access(),
            on_interruption=_last_event,
            resources=resources.pop_all(),
            headers=task.headers(),
        )


async def _until_begun(
    first: asyncio.Future[bytes],
    events: AsyncGenerator[bytes],
    request: Request,
    caller: Caller,
    task: AcceptedTask,
) -> None:
    """Wait for the first event for a while. Raises what there is in its place."""
    try:
        if await wait_for(first, request, caller, FIRST_EVENT_SECONDS):
            first.result()
    except BaseException as error:
        task.is_to_return = isinstance(error, TryAgainError)
        first.cancel()
        await asyncio.wait([first])
        await events.aclose()
        raise


async def _events(task: AcceptedTask, caller: Caller, form: AnswerForm) -> AsyncGenerator[bytes]:
    """Yield the events of the answer. Raises OpenAIError where the task has none."""
    stream = ChatStream(task.id, form)
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
