"""Makes one tool call, and says how it has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from django.conf import settings

from chat.models.tool_calls import CallState
from chat.models.tools import Tool, ToolPolicy
from chat.models.transitions.tool_steps import ClaimedCall, EndedCall
from chat.tools.calling import NoSlotError, ToolResult, call_tool
from chat.tools.offers import offered_tools

_CODE_CHARS = 40


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


async def make_call(call: ClaimedCall, tool: Tool | None) -> EndedCall | NoRoom:
    """Make a call. Whatever the server does becomes a result; only cancelling leaves this."""
    if tool is None:
        text = f"The tool {call.name!r} is not available any more."
        return EndedCall(
            call.id, CallState.FAILED, text, is_error=True, error_code="tool_unavailable"
        )
    arguments = msgspec.json.decode(call.arguments)
    try:
        result = await call_tool(tool, arguments, call_id=str(call.id), owner_id=call.owner_id)
    except NoSlotError as full:
        return NoRoom(tool.server.name, full.retry_after_seconds)
    return _ended(call, result)


def _ended(call: ClaimedCall, result: ToolResult) -> EndedCall:
    return EndedCall(
        id=call.id,
        state=CallState.FAILED if result.is_error else CallState.SUCCEEDED,
        text=_cut(result.text),
        is_error=result.is_error,
        error_code=str(result.code)[:_CODE_CHARS],
        result_bytes=result.bytes,
    )


def _cut(text: str) -> str:
    """A result, cut to TOOL_RESULT_MAX_BYTES with a note for the model."""
    limit: int = settings.TOOL_RESULT_MAX_BYTES
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    kept = encoded[:limit].decode(errors="ignore")
    return f"{kept}\n[cut: the first {limit} of {len(encoded)} bytes]"
