"""The methods of the tasks extension (io.modelcontextprotocol/tasks): its tasks are aily's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aily.problems import NotFound
from chat.api.tasks import load_task
from chat.mcp_server.approvals import answer, questions_of
from chat.mcp_server.calls import task_id_of
from chat.mcp_server.errors import INVALID_PARAMS, RPCError
from chat.mcp_server.results import Result, task_state
from chat.models import Status, Task
from chat.openai.callers import Caller
from chat.services.cancel import cancel_row

TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
_DONE: Result = {"resultType": "complete"}


async def get_task(caller: Caller, task_id: str) -> Result:
    """How a task stands, with its result once it has one, and with what it asks its user. Raises
    RPCError."""
    task = await _load(caller, task_id)
    state = task_state(task)
    if task.status == Status.REQUIRES_ACTION:
        state["inputRequests"] = await questions_of(task.pk)
    return state


async def update_task(
    caller: Caller, task_id: str, answers: Mapping[str, Any] | None = None
) -> Result:
    """Take answers to the questions of a task. Raises RPCError."""
    task = await _load(caller, task_id)
    await answer(caller.owner_id, task.pk, answers or {})
    return _DONE


async def cancel_task(caller: Caller, task_id: str) -> Result:
    """Cancel a task; one that has ended stays as it is. Raises RPCError."""
    try:
        await cancel_row(caller.owner_id, task_id_of(task_id))
    except NotFound as error:
        raise RPCError(INVALID_PARAMS, error.message) from None
    return _DONE


async def _load(caller: Caller, task_id: str) -> Task:
    """Unknown tasks and those of others are the same."""
    try:
        return await load_task(caller.owner_id, task_id_of(task_id))
    except NotFound as error:
        raise RPCError(INVALID_PARAMS, error.message) from None
