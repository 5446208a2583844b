"""Makes one tool call, and returns how it has ended."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import msgspec
from django.conf import settings
from django.utils import timezone

from chat.models.tool_calls import CallState, InputQuestion
from chat.models.tools import Tool, ToolPolicy
from chat.models.transitions.tool_steps import AskingCall, ClaimedCall, EndedCall
from chat.runner.storage import retry_until_database_returns
from chat.tools.calling import Continuation, NoSlotError, ToolResult, call_tool
from chat.tools.offers import offered_tools
from chat.tools.results import AskedInput, ToolErrorCode

_CODE_CHARS = 40
#: How long a call goes by what was loaded of its tool. Its arguments may be checked in another
#: process, after those of others: its tool may have come to ask, or be disabled, by then.
_FRESH_SECONDS = 0.2
#: Questions that a tool may ask in the middle of one call, one after the other.
MAX_QUESTIONS = 5
_decode_questions = msgspec.json.Decoder(list[InputQuestion]).decode


@dataclass(frozen=True, slots=True)
class NoRoom:
    """All slots of a server are in use."""

    server: str
    retry_after_seconds: float


def load_tools(calls: Sequence[ClaimedCall]) -> dict[UUID, Tool]:
    """The tools of these calls that their users may have called now, by the calls' ids.

    An approval may come hours after the model was offered a tool: it holds for this tool, not for
    another that has its name by now. A tool that has come to ask first is not called unasked.
    """
    by_owner: defaultdict[int, list[ClaimedCall]] = defaultdict(list)
    for call in calls:
        by_owner[call.owner_id].append(call)
    found: dict[UUID, Tool] = {}
    for owner_id, own in by_owner.items():
        tools: Mapping[str, Tool] = {
            tool.function_name: tool
            for tool in offered_tools([call.name for call in own], owner_id)
        }
        found |= {
            call.id: tool
            for call in own
            if (tool := tools.get(call.name)) is not None and _may_be_made(call, tool)
        }
    return found


def _may_be_made(call: ClaimedCall, tool: Tool) -> bool:
    is_allowed = call.is_approved or tool.policy == ToolPolicy.AUTOMATIC
    return tool.pk == call.tool_id and is_allowed


async def make_call(
    call: ClaimedCall, tool: Tool | None, loaded_at: float
) -> EndedCall | AskingCall | NoRoom:
    """Make a call, or go on with it, if its tool, loaded at `loaded_at` (monotonic), may still be
    called so. Whatever the server does becomes a result, or a question; only cancelling leaves
    this."""
    if tool is None:
        text = f"The tool {call.name!r} is not available any more."
        return EndedCall(
            call.id, CallState.FAILED, text, is_error=True, error_code="tool_unavailable"
        )
    arguments = msgspec.json.decode(call.arguments)
    questions = _decode_questions(call.questions) if call.questions else []
    continuation = None
    if questions:
        continuation = Continuation(questions[-1].responses(), call.request_state)

    async def may_begin() -> bool:
        if time.monotonic() - loaded_at < _FRESH_SECONDS:
            return True
        return call.id in await retry_until_database_returns(lambda: load_tools([call]))

    try:
        result = await call_tool(
            tool,
            arguments,
            call_id=str(call.id),
            owner_id=call.owner_id,
            continuation=continuation,
            may_begin=may_begin,
        )
    except NoSlotError as full:
        return NoRoom(tool.server.name, full.retry_after_seconds)
    if result.asked is None:
        return _ended(call, result, questions)
    if len(questions) >= MAX_QUESTIONS:
        return _unasked(call.id, f"The tool asked its user more than {MAX_QUESTIONS} times.")
    return _asking(call, result.asked, questions)


def _asking(call: ClaimedCall, asked: AskedInput, before: Sequence[InputQuestion]) -> AskingCall:
    deadline = timezone.now() + timedelta(seconds=settings.TOOL_APPROVAL_SECONDS)
    question = InputQuestion(asked.message, asked.schema, asked.keys, asked.fields, deadline)
    return AskingCall(call.id, [*before, question], asked.state)


def unasked(call_id: UUID) -> EndedCall:
    """The end of a call whose user cannot be asked."""
    return _unasked(call_id, "The tool asks its user for input, which this API cannot pass on.")


def _unasked(call_id: UUID, text: str) -> EndedCall:
    return EndedCall(
        id=call_id,
        state=CallState.FAILED,
        text=text,
        is_error=True,
        error_code=ToolErrorCode.INPUT_REQUIRED.value,
    )


def _ended(call: ClaimedCall, result: ToolResult, questions: Sequence[InputQuestion]) -> EndedCall:
    text = result.text
    if questions and questions[-1].reason:
        # MCP has no field for the reason, so only the model gets it.
        text += f"\n\nThe user declined to answer. The reason: {questions[-1].reason}"
    return EndedCall(
        id=call.id,
        state=CallState.FAILED if result.is_error else CallState.SUCCEEDED,
        text=_cut(text, call.max_result_bytes),
        is_error=result.is_error,
        error_code=str(result.code)[:_CODE_CHARS],
        result_bytes=result.bytes,
    )


def _cut(text: str, max_bytes: int | None) -> str:
    """A result, cut to its task's limit with a note for the model."""
    limit: int = settings.TOOL_RESULT_MAX_BYTES if max_bytes is None else max_bytes
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    kept = encoded[:limit].decode(errors="ignore")
    return f"{kept}\n[cut: the first {limit} of {len(encoded)} bytes]"
