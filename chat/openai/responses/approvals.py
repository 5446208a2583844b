"""Going on with a response that waits for its user: input that ends in `mcp_approval_response`.

The answers decide on the calls of a waiting task. The response is the same one as before, by the
same id; its output begins anew with what comes after the decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from aily.database.threads import in_database
from aily.problems import Conflict
from chat.events import EventId
from chat.models import ToolCall
from chat.models.tool_calls import REASON_CHARS, CallState
from chat.openai.errors import OpenAIError
from chat.openai.responses.call_items import CallOfTool, call_id_of
from chat.openai.responses.fields import ResponseCall
from chat.openai.responses.objects import JsonObject, ResponseFacts, task_id_of
from chat.openai.responses.row_replay import call_of_row
from chat.services.tool_approvals import approve, reject

#: Answers in one request.
MAX_ANSWERS = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """What a user says to one call."""

    call_id: UUID
    is_approved: bool
    reason: str
    param: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A task that goes on after the answers of its user."""

    facts: ResponseFacts
    #: The place in its log before the decisions.
    cursor: EventId
    #: Calls of its step whose user was asked, as they are now.
    asked: Sequence[CallOfTool]


def answers_of(call: ResponseCall) -> list[Answer]:
    """The answers at the end of an input; none where it ends with something else. Raises
    OpenAIError."""
    answers: list[Answer] = []
    for index in range(len(call.items) - 1, -1, -1):
        if call.items[index]["type"] != "mcp_approval_response":
            break
        answers.insert(0, _answer(call.items[index], f"input[{index}]"))
    if len(answers) > MAX_ANSWERS:
        raise _invalid(f"There are more than {MAX_ANSWERS} answers.", "input")
    return answers


def _answer(item: JsonObject, param: str) -> Answer:
    call_id = call_id_of(item["approval_request_id"])
    if call_id is None:
        raise _not_found(item["approval_request_id"], param)
    reason = item["reason"] or ""
    if len(reason) > REASON_CHARS:
        message = f"A reason has at most {REASON_CHARS} characters."
        raise _invalid(message, f"{param}.reason")
    return Answer(call_id, item["approve"], reason, param)


async def resume(call: ResponseCall, owner_id: int, answers: Sequence[Answer]) -> Resumed:
    """Carry the answers out. Answers that were given before count as given. Raises OpenAIError."""
    rows = await in_database(_load, owner_id, answers)
    task_ids = {row.task_id for row in rows}
    if len(task_ids) > 1:
        raise _invalid("The answers belong to several responses.", "input")
    [task_id] = task_ids
    previous = call.previous_response_id
    if previous is not None and task_id_of(previous) != task_id:
        message = "The answers do not belong to the previous response."
        raise _invalid(message, "previous_response_id")
    for answer in answers:
        await _decide(owner_id, task_id, answer)
    rows = await in_database(_load, owner_id, answers)
    asked = await in_database(_asked, task_id, rows[0].attempt)
    first = min(row.decided_event or row.result_event for row in rows)
    facts = ResponseFacts(task_id, call.echo, call.is_background)
    return Resumed(facts, EventId(rows[0].attempt, first - 1), asked)


def _load(owner_id: int, answers: Sequence[Answer]) -> list[ToolCall]:
    """The calls in the order of the answers, with their tasks. Raises OpenAIError."""
    ids = [answer.call_id for answer in answers]
    rows = ToolCall.objects.filter(pk__in=ids, task__owner_id=owner_id, asked_event__gt=0)
    found = {row.pk: row for row in rows}
    for answer in answers:
        if answer.call_id not in found:
            raise _not_found(f"mcpr_{answer.call_id.hex}", answer.param)
    return [found[call_id] for call_id in ids]


def _asked(task_id: UUID, attempt: int) -> list[CallOfTool]:
    rows = ToolCall.objects.filter(task_id=task_id, attempt=attempt, asked_event__gt=0)
    return [call_of_row(row) for row in rows.order_by("step", "place")]


async def _decide(owner_id: int, task_id: UUID, answer: Answer) -> None:
    """Carry out one answer. Raises OpenAIError where the call was decided otherwise, or its task
    has ended."""
    try:
        if answer.is_approved:
            await approve(owner_id, task_id, answer.call_id)
        else:
            await reject(owner_id, task_id, answer.call_id, answer.reason)
    except Conflict:
        row = await in_database(ToolCall.objects.get, pk=answer.call_id)
        was_approved = bool(row.decided_event)
        was_rejected = row.state == CallState.REJECTED
        if was_approved if answer.is_approved else was_rejected:
            return
        message = "This approval request was answered already, or has expired."
        raise _invalid(message, f"{answer.param}.approval_request_id") from None


def _not_found(name: str, param: str) -> OpenAIError:
    message = f"There is no approval request '{name[:100]}'."
    return OpenAIError(HTTPStatus.NOT_FOUND, message, param=f"{param}.approval_request_id")


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
