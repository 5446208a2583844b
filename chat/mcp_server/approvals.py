"""Tool calls that wait for their user, as the tasks extension asks for them: by elicitation.

Each is a question whose key is the call's id. Accepting it approves the call, with other arguments
if there are any; declining it, or `approve: false`, rejects it. One that is dismissed stays open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest, NotFound
from chat.mcp_server.errors import INVALID_PARAMS, RPCError
from chat.models import ToolCall
from chat.models.tool_calls import REASON_CHARS, CallState
from chat.services.tool_approvals import approve, find_call, reject

#: Characters of the arguments in a question; longer ones are in the task itself.
MAX_SHOWN_CHARS = 4_000
MAX_ANSWERS = 128

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approve": {"type": "boolean", "title": "Approve", "default": True},
        "arguments": {
            "type": "string",
            "title": "Other arguments",
            "description": "A JSON object; left out, those of the model are taken.",
        },
        "reason": {
            "type": "string",
            "title": "Reason",
            "description": "Why it is rejected; the model gets this text.",
            "maxLength": REASON_CHARS,
        },
    },
    "required": ["approve"],
}


async def questions_of(task_id: UUID) -> dict[str, Any]:
    """The `inputRequests` of a task, by the ids of its waiting calls."""
    return await in_database(_questions, task_id)


def _questions(task_id: UUID) -> dict[str, Any]:
    calls = ToolCall.objects.filter(task_id=task_id, state=CallState.REQUIRES_ACTION)
    return {str(call.pk): _question(call) for call in calls.order_by("step", "place")}


def _question(call: ToolCall) -> dict[str, Any]:
    if (asked := call.open_question) is not None:
        form = {"mode": "form", "message": asked.message, "requestedSchema": asked.schema}
        return {"method": "elicitation/create", "params": form}
    shown = call.arguments[:MAX_SHOWN_CHARS]
    message = f"The model wants to call {call.name} on the server {call.server} with {shown}"
    params = {"mode": "form", "message": message, "requestedSchema": _SCHEMA}
    return {"method": "elicitation/create", "params": params}


async def answer(owner_id: int, task_id: UUID, answers: Mapping[str, Any]) -> None:
    """Carry answers out. Those to calls that wait no more are ignored, as the extension wants it.

    Raises RPCError for an answer that cannot be read, and for arguments that do not fit.
    """
    if len(answers) > MAX_ANSWERS:
        raise RPCError(INVALID_PARAMS, f"There are more than {MAX_ANSWERS} inputResponses.")
    for key, given in answers.items():
        try:
            await _answer(owner_id, task_id, UUID(key), given)
        except InvalidRequest as problem:
            raise RPCError(INVALID_PARAMS, problem.message) from None
        except (Conflict, NotFound):
            continue
        except ValueError:
            # No id of a call.
            continue


async def _answer(owner_id: int, task_id: UUID, call_id: UUID, given: Any) -> None:
    action = given.get("action") if isinstance(given, dict) else None
    if action not in ("accept", "decline", "cancel"):
        raise RPCError(INVALID_PARAMS, "An answer has an action: accept, decline or cancel.")
    content = given.get("content") or {}
    if not isinstance(content, dict):
        raise RPCError(INVALID_PARAMS, "The content of an answer is an object.")
    if action == "cancel":
        return
    call = await in_database(find_call, owner_id, task_id, call_id)
    if action == "accept" and call is not None and call.open_question is not None:
        await approve(owner_id, task_id, call_id, answer=content)
        return
    if action == "decline" or content.get("approve") is False:
        reason = str(content.get("reason") or "")[:REASON_CHARS]
        await reject(owner_id, task_id, call_id, reason)
    else:
        await approve(owner_id, task_id, call_id, _arguments(content.get("arguments")))


def _arguments(given: object) -> Mapping[str, object] | None:
    if given is None or given == "":
        return None
    try:
        arguments = msgspec.json.decode(given) if isinstance(given, str) else given
    except (msgspec.DecodeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise RPCError(INVALID_PARAMS, "The arguments must be a JSON object.")
    return arguments
