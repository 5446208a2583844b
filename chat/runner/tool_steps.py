"""An answer that asks for tool calls: the next step of its task's loop, or the end at a limit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from aily.database.threads import in_database
from chat import accounting
from chat.events import Event
from chat.exceptions import BudgetExceeded
from chat.models import Status
from chat.models.tool_calls import CallState
from chat.models.transitions.tool_steps import NewStep
from chat.runner.attempt import NextStep
from chat.runner.call import Call
from chat.runner.storage import retry_until_database_returns

if TYPE_CHECKING:
    from chat.toolloop.loop import ToolLoop


async def with_tool_calls(call: Call, loop: ToolLoop, step: NextStep) -> NextStep:
    """What is to become of the task, where its answer asks for tool calls. The log's text must have
    been flushed."""
    # Imported here: a process without tools loads none of this.
    from chat.toolloop.loop import TOOL_LIMIT, Attempt

    completion = call.state.completion
    if step.status is not Status.SUCCEEDED or completion is None or not loop.is_step(completion):
        return step
    seconds = time.monotonic() - call.began_at
    limit = loop.limit_reached(seconds)
    if limit is None and loop.options.max_cost is not None:
        limit = await in_database(loop.cost_limit_reached, completion, call.task.model_id)
    if limit is not None:
        return NextStep(Status.FAILED, {"code": TOOL_LIMIT, "message": limit})
    text, reasoning = call.text_and_reasoning
    attempt = Attempt(call.task.attempt, text, reasoning, call.log.last_event, seconds)
    tools = loop.plan(completion, attempt)
    status = _status(tools)
    refused = await _reserve(call, tools, status)
    if refused is not None:
        return NextStep(Status.FAILED, {"code": refused.code, "message": refused.message})
    return NextStep(status, tools=tools)


async def _reserve(call: Call, step: NewStep, status: Status) -> BudgetExceeded | None:
    """Reserve what a step costs by itself: tools that have a price, or another turn at once."""
    prices: defaultdict[str, Decimal] = defaultdict(Decimal)
    for planned in step.calls:
        if planned.state != CallState.FAILED and (price := Decimal(planned.price)):
            prices[planned.currency] += price
    if not prices and status is not Status.QUEUED:
        return None
    known = sum(len(planned.text.encode()) for planned in step.calls)
    costs = accounting.StepCosts(
        prices,
        accounting.Tokens.of_usage(step.usage),
        known if status is Status.QUEUED else None,
    )
    task = call.task
    return await retry_until_database_returns(
        lambda: accounting.reserve_step(task.id, task.attempt, costs)
    )


def _status(step: NewStep) -> Status:
    if step.has(CallState.REQUIRES_ACTION):
        return Status.REQUIRES_ACTION
    # Where no call can be made, the model gets their errors at once.
    return Status.CALLING_TOOLS if step.has(CallState.QUEUED) else Status.QUEUED


def events_of_step(call: Call, step: NewStep) -> Sequence[Event]:
    """The events of a step that has been stored."""
    from chat.toolloop import events

    return events.events_of_step(call.task.id, call.task.owner_id, step)
