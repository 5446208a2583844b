"""Answers to tool calls that wait for their user: a call is approved, maybe with other arguments,
or rejected; what its tool asks in the middle of it is answered, or declined. Once: of two answers
the second is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from aily.concurrency.faults import note_fault
from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest, NotFound
from aily.redis.errors import RedisUnavailable
from chat import actors, scheduler
from chat.exceptions import because
from chat.llm.types import storable
from chat.models.ids import ais_own
from chat.models.tool_calls import CallState, InputQuestion, ToolCall
from chat.models.transitions import tool_steps
from chat.models.transitions.tool_steps import EndedCall, LoopState
from chat.reasons import Reason
from chat.runner import recovery
from chat.runner.tools import TOOLS

logger = logging.getLogger(__name__)

#: Bytes of an answer to a tool's question, as JSON.
MAX_INPUT_BYTES = 65_536
REJECTED = "The user rejected this call; it was not made."


async def approve(
    owner_id: int,
    task_id: UUID,
    call_id: UUID,
    arguments: Mapping[str, object] | None = None,
    answer: Mapping[str, object] | None = None,
    number: int | None = None,
) -> ToolCall:
    """Have a call made, with these arguments in place of the model's if there are any; or have it
    go on with the answer to what its tool asks. `number`: which of the tool's questions is meant.

    Raises NotFound, Conflict where it waits for nobody any more, and InvalidRequest for arguments
    that do not fit the tool, and for an answer that does not fit the question.
    """
    call = await _waiting_call(owner_id, task_id, call_id)
    if (question := call.open_question) is not None:
        _require_question(call, number)
        if arguments is not None:
            raise because(InvalidRequest, Reason("tool_call_approved"), field="arguments")
        await _check_answer(owner_id, question, answer)
        given = {"action": "accept", "content": answer}
        return await _answer(owner_id, call, question, given)
    if answer is not None or number is not None:
        field = "input" if answer is not None else "question"
        raise because(InvalidRequest, Reason("no_input_asked"), field=field)
    edited = None
    if arguments is not None:
        await _check(owner_id, call, dict(arguments))
        edited = msgspec.json.encode(arguments).decode()
    work = partial(
        tool_steps.approve_call, call.pk, decided_by_id=owner_id, edited_arguments=edited
    )
    return await _decided(call, work)


async def reject(
    owner_id: int, task_id: UUID, call_id: UUID, reason: str = "", number: int | None = None
) -> ToolCall:
    """Leave a call unmade; the model gets an error with the reason. Or decline to answer its tool,
    which then goes on without. Raises as `approve`."""
    call = await _waiting_call(owner_id, task_id, call_id)
    if (question := call.open_question) is not None:
        _require_question(call, number)
        return await _answer(
            owner_id, call, question, {"action": "decline", "reason": storable(reason)}
        )
    if number is not None:
        raise because(InvalidRequest, Reason("no_input_asked"), field="question")
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


# --- What a tool asks in the middle of its call -------------------------------------------------
def _require_question(call: ToolCall, number: int | None) -> None:
    """Raises Conflict where another question of the call is meant than the one that waits."""
    if number is not None and number != len(call.questions):
        raise _answered()


async def _check_answer(
    owner_id: int, question: InputQuestion, answer: Mapping[str, object] | None
) -> None:
    """Raises InvalidRequest."""
    from chat.tools.calling import misfit

    if answer is None:
        message = "The call asks for input."
        raise InvalidRequest(message, field="input", params={"rule": "required"})
    encoded = msgspec.json.encode(answer)
    if len(encoded) > MAX_INPUT_BYTES or b"\\u0000" in encoded:
        reason = Reason.of("input_bytes", limit=MAX_INPUT_BYTES)
        raise because(InvalidRequest, reason, field="input")
    if problem := await misfit(question.schema, encoded.decode(), owner_id):
        message = f"It does not fit the question: {problem.text}."
        raise InvalidRequest(message, field="input", params=problem.params)


async def _answer(
    owner_id: int, call: ToolCall, question: InputQuestion, given: Mapping[str, Any]
) -> ToolCall:
    """Raises Conflict."""
    before = msgspec.convert(call.questions[:-1], list[InputQuestion])
    questions = [*before, msgspec.structs.replace(question, **given)]
    work = partial(tool_steps.answer_question, call.pk, questions, decided_by_id=owner_id)
    return await _decided(call, work)


async def _waiting_call(owner_id: int, task_id: UUID, call_id: UUID) -> ToolCall:
    """A call of this owner's task. Raises NotFound and Conflict."""
    call = None
    if await ais_own(task_id):
        call = await in_database(find_call, owner_id, task_id, call_id)
    if call is None:
        raise because(NotFound, Reason("no_such_tool_call"), field="call_id")
    if call.state != CallState.REQUIRES_ACTION:
        raise _answered()
    return call


def find_call(owner_id: int, task_id: UUID, call_id: UUID) -> ToolCall | None:
    return ToolCall.objects.filter(pk=call_id, task_id=task_id, task__owner_id=owner_id).first()


async def _check(owner_id: int, call: ToolCall, arguments: dict[str, object]) -> None:
    """Check the user's arguments by the tool's schema. Raises InvalidRequest."""
    # Imported here: a process without tools loads none of this.
    from chat.tools.calling import check_arguments
    from chat.tools.offers import load_tool
    from chat.tools.results import ToolFault

    tool = await in_database(load_tool, call.name, owner_id)
    if tool is None or tool.pk != call.tool_id:
        raise because(Conflict, Reason("tool_gone"), field="call_id")
    try:
        await check_arguments(tool, arguments, owner_id)
    except ToolFault as fault:
        raise InvalidRequest(fault.message, field="arguments", params=fault.params) from None


async def _decided(call: ToolCall, decide: Callable[[], LoopState | None]) -> ToolCall:
    """Store a decision, and have the task go on. Raises Conflict."""
    changed = await in_database(decide)
    if changed is None:
        raise _answered()
    await in_database(_go_on, changed)
    return await in_database(ToolCall.objects.get, pk=call.pk)


def _answered() -> Conflict:
    return because(Conflict, Reason("tool_call_answered"), field="call_id")


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
