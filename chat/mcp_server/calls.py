"""Calls of tools: each call of a scene is an ordinary task, whose end is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from pydantic import JsonValue, ValidationError

from accounts.access.limits import count_request
from aily.concurrency.signals import Signal
from aily.database.threads import in_database
from aily.problems import NotFound, Problem
from aily.web.connections import connections
from aily.web.interruptions import Interruption
from chat.api.tasks import load_task
from chat.exceptions import because
from chat.mcp_server import table_tools
from chat.mcp_server.approvals import answer
from chat.mcp_server.asking import asking_result, question_signal, task_of_state
from chat.mcp_server.errors import INVALID_PARAMS, INVALID_REQUEST, RPCError
from chat.mcp_server.progress import Report, reporting
from chat.mcp_server.results import (
    Result,
    created_task,
    error_result,
    object_result,
    result_of,
    state_result,
    unfinished_result,
)
from chat.mcp_server.running_calls import CallId, forget_call, note_call
from chat.mcp_server.tools import CANCEL_TASK, GET_TASK, SceneTool
from chat.models import Lane, Task
from chat.openai.callers import Caller
from chat.openai.waiters import Waiter, fingerprint, get_keeper
from chat.reasons import Reason
from chat.services.cancel import cancel
from chat.services.submission import CompositeRequest
from chat.services.submit import Accepted, Submission, submit
from chat.services.waiting import End, Ends, ends_of

#: The event loop refers only weakly to its tasks.
_running: set[asyncio.Task[Result]] = set()


@dataclass(frozen=True, slots=True)
class Call:
    """One `tools/call`."""

    caller: Caller
    name: str
    arguments: Mapping[str, JsonValue]
    #: The scene of the tool; None: there is none of this name for the caller.
    tool: SceneTool | None
    #: How a client of an earlier revision than 2026-07-28 cancels it; None: by hanging up.
    legacy_id: CallId | None
    #: The client supports the tasks extension.
    takes_task: bool
    report: Report | None
    #: The client asks its user what a task asks: see chat/mcp_server/asking.py.
    asks_user: bool = False
    #: Of a call that goes on: what was sent with the questions, and the answers by their keys.
    state: str | None = None
    answers: Mapping[str, Any] | None = None

    @property
    def may_be_asked(self) -> bool:
        return self.asks_user and self.tool is not None and self.tool.has_tools

    @property
    def is_legacy(self) -> bool:
        return self.legacy_id is not None


async def call_tool(call: Call) -> Result:
    """Run a tool. Raises RPCError for what no model can mend."""
    try:
        if call.name in (GET_TASK, CANCEL_TASK):
            return await _own_tool(call)
        if call.name in table_tools.NAMES:
            return await _table_tool(call)
        if call.tool is None:
            raise RPCError(INVALID_PARAMS, f"There is no tool {call.name[:100]!r}.")
        if call.state is not None:
            return await _apart(partial(_go_on, call, task_of_state(call.name, call.state)))
        request = CompositeRequest.model_validate(
            {"scene": call.tool.slug, "variables": dict(call.arguments)}
        )
        return await _apart(partial(_run, call, request))
    except ValidationError as error:
        return error_result(_first_message(error))
    except Problem as problem:
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise RPCError.of(problem) from None
        return error_result(_in_words(problem))


def _first_message(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:1000]


def _in_words(problem: Problem) -> str:
    message = problem.message if problem.field is None else f"{problem.field}: {problem.message}"
    if problem.retry_after_seconds is None:
        return message
    return f"{message} Try again after {problem.retry_after_seconds} s."


# --- aily's own tools ---------------------------------------------------------------------------
async def _own_tool(call: Call) -> Result:
    owner_id = call.caller.owner_id
    try:
        task_id = task_id_of(call.arguments.get("task_id"))
        if call.name == CANCEL_TASK:
            await cancel(owner_id, task_id)
        return state_result(await load_task(owner_id, task_id))
    except NotFound as error:
        return error_result(error.message)


async def _table_tool(call: Call) -> Result:
    """Raises Problem and pydantic's ValidationError."""
    caller = call.caller
    await count_request(*caller.requester)
    given = (caller.owner_id, caller.api_key_id, call.name, call.arguments)
    return object_result(await in_database(table_tools.call_table_tool, *given))


def task_id_of(value: object) -> UUID:
    """Raises NotFound for what is no id."""
    try:
        return UUID(str(value))
    except ValueError:
        raise because(NotFound, Reason("no_such_task"), field="task_id") from None


# --- Scenes -------------------------------------------------------------------------------------
async def _apart(run: Callable[[Signal], Coroutine[None, None, Result]]) -> Result:
    """Await `run` in a task of its own, which gets a signal when this one is cancelled.

    The `mcp` package cancels a handler at each of its awaits once the client is gone; what is begun
    here then has to be brought to its end.
    """
    gone = Signal()
    running = asyncio.create_task(run(gone))
    _running.add(running)
    running.add_done_callback(_running.discard)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        gone.set()
        raise


async def _run(call: Call, request: CompositeRequest, gone: Signal) -> Result:
    owner_id = call.caller.owner_id
    with connections().opened(owner_id):
        async with ends_of(owner_id) as ends:
            accepted = await submit(_submission(call, request))
            if call.takes_task:
                return await _as_task(call, accepted, ends)
            if call.legacy_id is None:
                return await _while_connected(call, accepted, ends, gone)
            await note_call(call.legacy_id, owner_id, accepted.task_id)
            try:
                end = await _end(call, accepted, ends, gone)
            finally:
                await forget_call(call.legacy_id)
            return _result(call, accepted, end)


async def _go_on(call: Call, task_id: UUID, gone: Signal) -> Result:
    """Take the answers to what a task has asked, and wait for its end, or for what it asks next."""
    owner_id = call.caller.owner_id
    try:
        task = await load_task(owner_id, task_id)
    except NotFound as error:
        raise RPCError(INVALID_PARAMS, error.message) from None
    with connections().opened(owner_id):
        async with ends_of(owner_id) as ends:
            await answer(owner_id, task_id, call.answers or {})
            accepted = Accepted(str(task_id), task.status)
            return await _while_connected(call, accepted, ends, gone)


def _submission(call: Call, request: CompositeRequest) -> Submission:
    caller = call.caller
    return Submission(
        owner_id=caller.owner_id,
        request=request,
        default_lane=Lane.named(caller.lane, Lane.INTERACTIVE),
        api_key_id=caller.api_key_id,
        uncounted=caller.requester,
    )


async def _while_connected(call: Call, accepted: Accepted, ends: Ends, gone: Signal) -> Result:
    """Wait for the end. If the client hangs up, the task is cancelled after the grace time, as it
    is for a request to OpenAI's API: here, or by another process if this one dies."""
    task_id, owner_id = UUID(accepted.task_id), call.caller.owner_id
    digest = fingerprint(call.caller.api_key_id, "/mcp", task_id.bytes)
    waiter, keeper = Waiter(digest, task_id, owner_id), get_keeper()
    keeper.hold(waiter)
    is_wanted = True
    try:
        end = await _end(call, accepted, ends, gone)
        is_wanted = end not in (Interruption.DISCONNECTED, Interruption.ACCESS_LOST)
    finally:
        if is_wanted:
            keeper.release(waiter)
        else:
            await keeper.drop(waiter, settings.DROPPED_REQUEST_SECONDS)
    if end is Interruption.ASKED:
        return await asking_result(call.name, accepted.task_id)
    return _result(call, accepted, end)


async def _end(
    call: Call, accepted: Accepted, ends: Ends, gone: Signal, seconds: float | None = None
) -> End | Interruption:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(reporting(call.report, call.caller.owner_id, accepted))
        lost = await stack.enter_async_context(call.caller.lost_access())
        interruptions = {Interruption.ACCESS_LOST: lost, Interruption.DISCONNECTED: gone}
        if call.may_be_asked:
            asked = question_signal(call.caller.owner_id, accepted)
            interruptions[Interruption.ASKED] = await stack.enter_async_context(asked)
        return await ends.end_of(
            accepted.task_id,
            is_new=accepted.waits_alone,
            timeout_seconds=settings.MCP_WAIT_SECONDS if seconds is None else seconds,
            interruptions=interruptions,
        )


def _result(call: Call, accepted: Accepted, end: End | Interruption) -> Result:
    """Raises RPCError where the caller has no access any more."""
    match end:
        case Interruption.ACCESS_LOST:
            raise RPCError(INVALID_REQUEST, "This API key was revoked, or has expired.")
        case Interruption.SHUTDOWN:
            return unfinished_result(accepted.task_id, "This server is being restarted.")
        case Interruption():
            return unfinished_result(accepted.task_id, "There is no answer yet.")
        case _:
            return result_of(end.event, objects_only=call.is_legacy)


async def _as_task(call: Call, accepted: Accepted, ends: Ends) -> Result:
    """The committed task, or its result where it ends within MCP_TASK_AFTER_SECONDS."""
    seconds: float = settings.MCP_TASK_AFTER_SECONDS
    if seconds:
        end = await _end(call, accepted, ends, Signal(), seconds)
        if isinstance(end, End):
            return _result(call, accepted, end)
    task: Task = await load_task(call.caller.owner_id, UUID(accepted.task_id))
    return created_task(task)
