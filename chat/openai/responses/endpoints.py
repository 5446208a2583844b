"""The paths of `/v1/responses`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, cast
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from accounts.idempotency import FIELD, parse_key
from aily.http.bodies import decode_body, read_body
from aily.http.event_streams import EventStreamResponse
from aily.problems import InvalidRequest, NotFound, Problem, TooLarge
from aily.web.connections import connections
from aily.web.interruptions import Interruption
from aily.web.shutdown import shutdown_event
from chat.exceptions import because
from chat.models import Status
from chat.openai.accepting import (
    TASK_ID_HEADER,
    AcceptedTask,
    Incoming,
    accept,
    digest_of_sent,
    find_repeated,
)
from chat.openai.callers import Caller, caller_of
from chat.openai.errors import JSON_TYPE, OpenAIError
from chat.openai.responses.approvals import Answer, answers_of, resume
from chat.openai.responses.creation import Prepared, ResponseForm, named_as_sent, prepare
from chat.openai.responses.events import BEFORE_ALL
from chat.openai.responses.fields import ResponseCall, read_call
from chat.openai.responses.objects import JsonObject, ResponseEvent, ResponseFacts, response_object
from chat.openai.responses.replay import (
    current_object,
    follow_events,
    object_of_end,
    response_events,
    resumed_events,
)
from chat.openai.responses.sending import SentEvents
from chat.openai.responses.stored import ItemPage, delete_response, load_response
from chat.openai.task_errors import error_of
from chat.openai.waiters import Waiter, fingerprint, get_keeper
from chat.openai.waiting import interrupted, seconds_to_wait, wait_for
from chat.reasons import Reason
from chat.services.cancel import cancel
from chat.services.follow import load_ended
from chat.services.submit import submit
from chat.services.waiting import ends_of

if TYPE_CHECKING:
    from chat.events import AnyEvent

#: Bytes of JSON that count as one token where they are only estimated.
BYTES_PER_TOKEN = 3
DEFAULT_PAGE, MAX_PAGE = 20, 100
#: Above every number of an event.
MAX_NUMBER = 2**53


# --- Creating -----------------------------------------------------------------------------------
async def create_response(request: Request) -> Response:
    """Make a response: whole, as a stream, or in the background."""
    began = perf_counter()
    caller = await caller_of(request)
    body = await read_body(request)
    call = read_call(decode_body(request, body), request.headers)
    if answers := answers_of(call):
        return await _resumed(request, caller, body, call, answers)
    try:
        prepared = await prepare(call, caller.owner_id)
    except (OpenAIError, Problem):
        # What it names may be gone since it was sent for the first time.
        if (repeated := await find_repeated(request, caller, body)) is None:
            raise
        return await _repeated(request, caller, call, repeated)
    try:
        if call.is_background:
            response = await _in_background(request, caller, body, prepared)
        else:
            incoming = Incoming(body, prepared.request, prepared.draft)
            form = prepared.form
            # The answer may be minutes in coming, and all of this have megabytes.
            del body, call, prepared
            response = await _in_foreground(request, caller, incoming, form)
    except (InvalidRequest, TooLarge) as problem:
        raise named_as_sent(problem) from None
    milliseconds = round((perf_counter() - began) * 1000)
    response.headers["openai-processing-ms"] = str(milliseconds)
    return response


async def _in_foreground(
    request: Request, caller: Caller, incoming: Incoming, form: ResponseForm
) -> Response:
    if form.is_streamed:
        return await _streamed(request, caller, incoming, form)
    if form.has_tools:
        return await _whole_with_tools(request, caller, incoming, form)
    return await _whole(request, caller, incoming, form)


async def _whole(
    request: Request, caller: Caller, incoming: Incoming, form: ResponseForm
) -> Response:
    async with ends_of(caller.owner_id) as ends:
        task = await accept(request, caller, incoming)
        try:
            end = await task.wait_for_end(ends, request, caller)
            whole = await object_of_end(form.facts(task.id), end)
        except OpenAIError as error:
            # The task has all that is known of it.
            error.headers[TASK_ID_HEADER] = task.id
            raise
    return _json(whole, task.headers())


async def _whole_with_tools(
    request: Request, caller: Caller, incoming: Incoming, form: ResponseForm
) -> Response:
    """Wait for the end, or for a tool call that waits for its user."""
    task = await accept(request, caller, incoming)
    facts = form.facts(task.id)
    is_new = task.is_new
    events = follow_events(facts, caller.owner_id, is_streamed=False, is_new=is_new)
    return await _last_response(task, facts, events, request, caller)


async def _last_response(
    task: AcceptedTask,
    facts: ResponseFacts,
    events: AsyncGenerator[ResponseEvent],
    request: Request,
    caller: Caller,
) -> Response:
    """The response of the last of these events. Raises OpenAIError where it has failed."""
    work = asyncio.ensure_future(_read_last(_held(task, facts, events)))
    try:
        if not await wait_for(work, request, caller, seconds_to_wait(request)):
            task.is_to_return = True
            raise interrupted(Interruption.TIMED_OUT)
        response = work.result()
    finally:
        work.cancel()
        await asyncio.wait([work])
    if response["status"] in ("failed", "cancelled"):
        raise await _failure(task.id)
    return _json(response, task.headers())


async def _failure(task_id: str) -> OpenAIError:
    """The error of a response that was waited for, and has failed."""
    task = await load_ended(task_id)
    if task is None:
        error = OpenAIError.of(because(NotFound, Reason("no_such_task")))
    else:
        end = task.terminal_event(f"{task.attempt}-{max(task.last_event, 1)}")
        error = error_of(cast("AnyEvent", end))
    error.headers[TASK_ID_HEADER] = task_id
    return error


async def _read_last(events: AsyncGenerator[ResponseEvent]) -> JsonObject:
    response: JsonObject = {}
    async with aclosing(events):
        async for event in events:
            response = event.fields.get("response", response)
    return response


# --- Going on after answers of the user ---------------------------------------------------------
async def _resumed(
    request: Request, caller: Caller, body: bytes, call: ResponseCall, answers: Sequence[Answer]
) -> Response:
    """Go on with a response that has waited for its user."""
    with ExitStack() as resources:
        if call.is_streamed:
            resources.enter_context(connections().opened(caller.owner_id))
        resumed = await resume(call, caller.owner_id, answers)
        facts = resumed.facts
        if call.is_background and not call.is_streamed:
            return _json(
                response_object(facts, "in_progress"), {TASK_ID_HEADER: str(facts.task_id)}
            )
        events = resumed_events(
            facts, caller.owner_id, resumed.cursor, resumed.asked, is_streamed=call.is_streamed
        )
        task = _held_again(request, caller, body, facts)
        if not call.is_streamed:
            return await _last_response(task, facts, events, request, caller)
        return await _stream(_held(task, facts, events), caller, task.headers(), resources)


def _held_again(
    request: Request, caller: Caller, body: bytes, facts: ResponseFacts
) -> AcceptedTask:
    """The task of a response: cancelled if this client goes, unless it runs in the background."""
    waiter = None
    if not facts.is_background:
        digest = fingerprint(caller.api_key_id, request.scope["path"], body)
        waiter = Waiter(digest, facts.task_id, caller.owner_id)
        get_keeper().hold(waiter)
    return AcceptedTask(str(facts.task_id), is_new=False, waiter=waiter)


async def _streamed(
    request: Request, caller: Caller, incoming: Incoming, form: ResponseForm
) -> Response:
    with ExitStack() as resources:
        resources.enter_context(connections().opened(caller.owner_id))
        task = await accept(request, caller, incoming)
        facts = form.facts(task.id)
        events = follow_events(facts, caller.owner_id, is_streamed=True, is_new=task.is_new)
        held = _held(task, facts, events)
        return await _stream(held, caller, task.headers(), resources)


async def _repeated(
    request: Request, caller: Caller, call: ResponseCall, task: AcceptedTask
) -> Response:
    """The response of a request that was sent before, and could not be prepared now."""
    facts = ResponseFacts(UUID(task.id), call.echo, call.is_background)
    if call.is_background and not call.is_streamed:
        response = await load_response(caller.owner_id, facts.id)
        whole = await current_object(response, response.task, caller.owner_id)
        return _json(whole, task.headers())
    events = follow_events(facts, caller.owner_id, is_streamed=call.is_streamed, is_new=False)
    if not call.is_streamed:
        return await _last_response(task, facts, events, request, caller)
    with ExitStack() as resources:
        resources.enter_context(connections().opened(caller.owner_id))
        return await _stream(events, caller, task.headers(), resources)


async def _in_background(
    request: Request, caller: Caller, body: bytes, prepared: Prepared
) -> Response:
    """Nobody waits for it: it goes on whatever becomes of this connection, and of this process."""
    with ExitStack() as resources:
        if prepared.call.is_streamed:
            resources.enter_context(connections().opened(caller.owner_id))
        key = parse_key(request.headers.get(FIELD))
        sent_digest = digest_of_sent(request, body) if key else ""
        accepted = await submit(prepared.submission(caller, key, sent_digest))
        facts, headers = prepared.form.facts(accepted.task_id), {TASK_ID_HEADER: accepted.task_id}
        if prepared.call.is_streamed:
            is_new = accepted.waits_alone
            events = follow_events(facts, caller.owner_id, is_streamed=True, is_new=is_new)
            return await _stream(events, caller, headers, resources)
    if accepted.is_new:
        return _json(response_object(facts, "queued"), headers)
    response = await load_response(caller.owner_id, facts.id)
    return _json(await current_object(response, response.task, caller.owner_id), headers)


async def _held(
    task: AcceptedTask, facts: ResponseFacts, events: AsyncGenerator[ResponseEvent]
) -> AsyncGenerator[ResponseEvent]:
    """The events of a response that ends soon after its reader has gone."""
    async with task, aclosing(events):
        try:
            async for event in events:
                task.is_answered = event.is_last
                yield event
        finally:
            # As this process stops, the rest of a stored response can be read through another.
            task.is_answered |= facts.is_stored and shutdown_event().is_set()


async def _stream(
    events: AsyncGenerator[ResponseEvent],
    caller: Caller,
    headers: Mapping[str, str],
    resources: ExitStack,
) -> Response:
    sent = SentEvents(events)
    stream = sent.server_sent()
    # Begun, so that closing it ends what is followed, even if the client is gone already.
    await anext(stream)
    return EventStreamResponse(
        stream,
        caller.lost_access(),
        on_interruption=sent.last_event,
        resources=resources.pop_all(),
        headers=headers,
    )


def _json(body: JsonObject, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), media_type=JSON_TYPE, headers=headers)


# --- Stored responses ---------------------------------------------------------------------------
async def retrieve_response(request: Request) -> Response:
    """A response as it is now; or its events after a number, then live to the end."""
    caller = await caller_of(request)
    is_streamed = _boolean(request, "stream")
    after = _number(request, "starting_after", BEFORE_ALL, 0, MAX_NUMBER)
    with ExitStack() as resources:
        if is_streamed:
            resources.enter_context(connections().opened(caller.owner_id))
        response = await load_response(caller.owner_id, request.path_params["response_id"])
        if not is_streamed:
            return _json(await current_object(response, response.task, caller.owner_id))
        events = response_events(response, response.task, caller.owner_id, after)
        headers = {TASK_ID_HEADER: str(response.task_id)}
        return await _stream(events, caller, headers, resources)


async def cancel_response(request: Request) -> Response:
    """Stop a background response for good. One that has ended stays as it is."""
    caller = await caller_of(request)
    name = request.path_params["response_id"]
    response = await load_response(caller.owner_id, name)
    if not response.is_background:
        message = "Only background responses can be cancelled: close the connection of others."
        raise OpenAIError(HTTPStatus.BAD_REQUEST, message)
    if not Status(response.task.status).is_terminal:
        await cancel(caller.owner_id, response.task_id)
        response = await load_response(caller.owner_id, name)
    return _json(await current_object(response, response.task, caller.owner_id))


async def delete_stored_response(request: Request) -> Response:
    """Delete a response. One that has not ended is cancelled first."""
    caller = await caller_of(request)
    response = await load_response(caller.owner_id, request.path_params["response_id"])
    if not Status(response.task.status).is_terminal:
        await cancel(caller.owner_id, response.task_id)
    await delete_response(response)
    facts = ResponseFacts(response.task_id, response.request)
    return _json({"id": facts.id, "object": "response", "deleted": True})


async def list_input_items(request: Request) -> Response:
    """The items of a response's own input, those of previous responses not included."""
    caller = await caller_of(request)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise _invalid("It is asc or desc.", "order")
    page = ItemPage(
        limit=_number(request, "limit", DEFAULT_PAGE, 1, MAX_PAGE),
        is_ascending=order == "asc",
        after=request.query_params.get("after"),
    )
    response = await load_response(caller.owner_id, request.path_params["response_id"])
    return _json(page.of(response.input))


async def count_input_tokens(request: Request) -> Response:
    """About how many tokens an input has, by its length; nothing is submitted."""
    caller = await caller_of(request)
    body = decode_body(request, await read_body(request))
    call = read_call(body, request.headers)
    prepared = await prepare(call, caller.owner_id)
    size = len(msgspec.json.encode([prepared.messages, call.task_fields.get("tools", [])]))
    tokens = -(-size // BYTES_PER_TOKEN)
    return _json({"object": "response.input_tokens", "input_tokens": tokens})


# --- Query parameters ---------------------------------------------------------------------------
def _boolean(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise _invalid("It is true or false.", name)
    return value == "true"


def _number(request: Request, name: str, default: int, minimum: int, maximum: int) -> int:
    value = request.query_params.get(name)
    if value is None:
        return default
    is_number = value.isascii() and value.isdigit() and len(value) <= len(str(maximum))
    if not (is_number and minimum <= int(value) <= maximum):
        raise _invalid(f"It is a number from {minimum} to {maximum}.", name)
    return int(value)


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
