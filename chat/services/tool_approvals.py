"""Approval of tool calls: a call that waits for its user is approved, maybe with other arguments,
or rejected. Once: of two answers the second is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from uuid import UUID

import msgspec

from aily.concurrency.faults import note_fault
from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest, NotFound
from aily.redis.errors import RedisUnavailable
from chat import actors, scheduler
from chat.models.ids import ais_own
from chat.models.tool_calls import CallState, ToolCall
from chat.models.transitions import tool_steps
from chat.models.transitions.tool_steps import EndedCall, LoopState
from chat.runner import recovery
from chat.runner.tools import TOOLS

logger = logging.getLogger(__name__)

REJECTED = "The user rejected this call; it was not made."


async def approve(
    owner_id: int, task_id: UUID, call_id: UUID, arguments: Mapping[str, object] | None = None
) -> ToolCall:
    """Have a call made, with these arguments in place of the model's if there are any.

    Raises NotFound, Conflict where it waits for nobody any more, and InvalidRequest for arguments
    that do not fit the tool.
    """
    call = await _waiting_call(owner_id, task_id, call_id)
    edited = None
    if arguments is not None:
        await _check(owner_id, call, dict(arguments))
        edited = msgspec.json.encode(arguments).decode()
    work = partial(
        tool_steps.approve_call, call.pk, decided_by_id=owner_id, edited_arguments=edited
    )
    return await _decided(call, work)


async def reject(owner_id: int, task_id: UUID, call_id: UUID, reason: str = "") -> ToolCall:
    """Leave a call unmade; the model is told so, with the reason. Raises as `approve`."""
    call = await _waiting_call(owner_id, task_id, call_id)
    ended = EndedCall(
        id=call.pk,
        state=CallState.REJECTED,
        text=f"{REJECTED} The reason: {reason}" if reason else REJECTED,
        is_error=True,
        error_code="tool_rejected",
        reason=reason,
        decided_by_id=owner_id,
        is_decided=True,
    )

    def work() -> LoopState | None:
        from chat.toolloop.budgets import within_budgets

        return next(iter(within_budgets(lambda: tool_steps.reject_calls([ended]))), None)

    return await _decided(call, work)


async def _waiting_call(owner_id: int, task_id: UUID, call_id: UUID) -> ToolCall:
    """A call of this owner's task. Raises NotFound and Conflict."""
    call = None
    if await ais_own(task_id):
        call = await in_database(find_call, owner_id, task_id, call_id)
    if call is None:
        raise NotFound("There is no such tool call.", field="call_id")
    if call.state != CallState.REQUIRES_ACTION:
        raise _answered()
    return call


def find_call(owner_id: int, task_id: UUID, call_id: UUID) -> ToolCall | None:
    return ToolCall.objects.filter(pk=call_id, task_id=task_id, task__owner_id=owner_id).first()


async def _check(owner_id: int, call: ToolCall, arguments: dict[str, object]) -> None:
    """Check the user's arguments by the tool's schema. Raises InvalidRequest."""
    # Who uses no tools loads none of this.
    from chat.tools.calling import check_arguments
    from chat.tools.offers import load_tool
    from chat.tools.results import ToolFault

    tool = await in_database(load_tool, call.name, owner_id)
    if tool is None or tool.pk != call.tool_id:
        raise Conflict("This tool is not available any more: reject its call.", field="call_id")
    try:
        await check_arguments(tool, arguments, owner_id)
    except ToolFault as fault:
        raise InvalidRequest(fault.message, field="arguments") from None


async def _decided(call: ToolCall, decide: Callable[[], LoopState | None]) -> ToolCall:
    """Store a decision, and have the task go on. Raises Conflict."""
    changed = await in_database(decide)
    if changed is None:
        raise _answered()
    await in_database(_go_on, changed)
    return await in_database(ToolCall.objects.get, pk=call.pk)


def _answered() -> Conflict:
    return Conflict("This tool call was answered already, or waits no more.", field="call_id")


def _go_on(changed: LoopState) -> None:
    """Publish a committed decision. Raises nothing: the sweep does what is left undone."""
    try:
        for pool in recovery.go_on([changed]):
            actors.ring(pool)
        if not changed.is_ready and not scheduler.ring_listeners(TOOLS):
            actors.ring(TOOLS)
    except RedisUnavailable as error:
        logger.warning("a tool call was decided, but Redis is away: %s", error)
    except Exception:  # noqa: BLE001 - logged; the rows are what counts
        note_fault("deciding a tool call")
