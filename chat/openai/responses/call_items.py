"""The items of tool calls that aily makes for a response, in OpenAI's form of hosted MCP. Pure.

A call is an `mcp_call`; one that waits for its user is an `mcp_approval_request`, which an input
item `mcp_approval_response` answers. Both names hold the call's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec

from chat.events import PIECE_CHARS
from chat.openai.responses.objects import JsonObject

CALL_PREFIX: Final = "mcp_"
APPROVAL_PREFIX: Final = "mcpr_"
LIST_PREFIX: Final = "mcpl_"

#: States of a call that is not made before its user has approved it, and of one never made.
ASKED, REJECTED = "requires_action", "rejected"
_OPEN: Final = frozenset({ASKED, "queued", "running"})

#: The type of an event, and its fields.
Emitted = tuple[str, JsonObject]


class CallOfTool(msgspec.Struct, frozen=True):
    """A tool call, as far as both its events and its row have it."""

    call_id: str
    tool: str
    server: str
    state: str = ASKED
    arguments: str = "{}"
    text: str = ""
    is_error: bool = False
    is_truncated: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state not in _OPEN

    @property
    def hex(self) -> str:
        return UUID(self.call_id).hex

    @property
    def approval_id(self) -> str:
        return f"{APPROVAL_PREFIX}{self.hex}"


@dataclass(slots=True)
class ResponseCalls:
    """The tool calls of a response, by their ids, and how far each is."""

    #: Those that were begun, with the places of their items in the output.
    begun: dict[str, int] = field(default_factory=dict)
    open: dict[str, CallOfTool] = field(default_factory=dict)
    #: Those whose user is asked, or is about to be.
    asked: set[str] = field(default_factory=set)
    #: Those of which the user is still to be asked, and those that wait for the answer.
    unasked: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)

    @property
    def is_waiting(self) -> bool:
        return bool(self.waiting) and not (self.unasked or self.open)


def call_id_of(approval_id: str) -> UUID | None:
    """The call that an approval request is about; None for what is no such id."""
    digits = approval_id.removeprefix(APPROVAL_PREFIX)
    if digits == approval_id or len(digits) != 32:
        return None
    try:
        return UUID(hex=digits)
    except ValueError:
        return None


# --- Items --------------------------------------------------------------------------------------
def approval_item(call: CallOfTool) -> JsonObject:
    return {
        "id": call.approval_id,
        "type": "mcp_approval_request",
        "server_label": call.server,
        "name": call.tool,
        "arguments": call.arguments,
    }


def call_item(call: CallOfTool, status: str, *, is_approved: bool) -> JsonObject:
    """`status` is in_progress, completed, incomplete or failed."""
    has_result = status in ("completed", "failed")
    return {
        "id": f"{CALL_PREFIX}{call.hex}",
        "type": "mcp_call",
        "status": status,
        "server_label": call.server,
        "name": call.tool,
        "arguments": call.arguments,
        "output": call.text if has_result and not call.is_error else None,
        "error": call.text if has_result and call.is_error else None,
        "approval_request_id": call.approval_id if is_approved else None,
    }


def list_item(name: str, server: str, tools: list[JsonObject]) -> JsonObject:
    return {
        "id": name,
        "type": "mcp_list_tools",
        "server_label": server,
        "tools": tools,
        "error": None,
    }


# --- Events -------------------------------------------------------------------------------------
def listing_events(item: JsonObject, index: int) -> Iterator[Emitted]:
    """The events of a list of tools, without the last one of its item."""
    place = {"item_id": item["id"], "output_index": index}
    yield "response.output_item.added", {"output_index": index, "item": {**item, "tools": []}}
    yield "response.mcp_list_tools.in_progress", place
    yield "response.mcp_list_tools.completed", place


def begun_events(item: JsonObject, index: int) -> Iterator[Emitted]:
    """The events of a call that begins; `item` is that of a call in progress."""
    place = {"item_id": item["id"], "output_index": index}
    arguments = str(item["arguments"])
    yield "response.output_item.added", {"output_index": index, "item": {**item, "arguments": ""}}
    yield "response.mcp_call.in_progress", place
    for start in range(0, len(arguments), PIECE_CHARS):
        piece = arguments[start : start + PIECE_CHARS]
        yield "response.mcp_call_arguments.delta", {**place, "delta": piece}
    yield "response.mcp_call_arguments.done", {**place, "arguments": arguments}


def ended_events(item: JsonObject, index: int) -> Iterator[Emitted]:
    """The events of a call that ends, without the last one of its item."""
    name = {"completed": "completed", "failed": "failed"}.get(item["status"])
    if name is not None:
        yield f"response.mcp_call.{name}", {"item_id": item["id"], "output_index": index}


def status_of(call: CallOfTool) -> str:
    """The status of the item of a call that has ended."""
    if call.state == "succeeded":
        return "completed"
    return "incomplete" if call.state == "cancelled" else "failed"
