"""The objects of the Responses API: responses, and the items of their output. Pure.

A response has every field that OpenAI's document requires, and those that Open Responses requires
besides: clients of both take it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

JsonObject = dict[str, Any]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]

RESPONSE_PREFIX: Final = "resp_"
#: Prefixes of the ids of output items, by their types.
ITEM_PREFIXES: Final = {
    "message": "msg_",
    "refusal": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
}
#: Among the fields of the request, and not shown with them.
LISTED_TOOLS: Final = "aily_listed_tools"
_HEX_CHARS = 32
_LAST_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponseEvent(NamedTuple):
    """An event of a response's stream, as clients are sent it."""

    type: str
    number: int
    fields: JsonObject

    @property
    def is_last(self) -> bool:
        return self.type in _LAST_TYPES

    def body(self) -> JsonObject:
        return {"type": self.type, "sequence_number": self.number, **self.fields}


@dataclass(frozen=True, slots=True)
class ResponseFacts:
    """What a response is from its beginning on."""

    task_id: UUID
    #: The fields of the request that the response repeats.
    request: Mapping[str, Any]
    is_background: bool = False

    @property
    def id(self) -> str:
        return response_id(self.task_id)

    @property
    def is_stored(self) -> bool:
        return bool(self.request["store"])

    @property
    def listed_tools(self) -> Mapping[str, list[JsonObject]]:
        """The tools that the model was offered, by the tool servers that the request names."""
        return self.request.get(LISTED_TOOLS) or {}

    @property
    def created_at(self) -> int:
        """In seconds. Task ids begin with their time in milliseconds."""
        return (self.task_id.int >> 80) // 1000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response ended: the fields that it has from then on."""

    status: ResponseStatus
    error: JsonObject | None = None
    incomplete_reason: str | None = None
    usage: JsonObject | None = None
    completed_at: int | None = None


def response_object(
    facts: ResponseFacts,
    status: ResponseStatus,
    output: Sequence[JsonObject] = (),
    ending: Ending | None = None,
) -> JsonObject:
    reason = ending.incomplete_reason if ending else None
    return {
        "id": facts.id,
        "object": "response",
        "created_at": facts.created_at,
        "status": status,
        "completed_at": ending.completed_at if ending else None,
        "error": ending.error if ending else None,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": list(output),
        "usage": (ending.usage if ending else None) or usage_object({}),
        "background": facts.is_background,
        **{name: value for name, value in facts.request.items() if name != LISTED_TOOLS},
    }


def usage_object(usage: Mapping[str, Any]) -> JsonObject:
    """The token counts of a task; zeros where there are none yet, as OpenAI's document has no null
    here."""
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "input_tokens_details": {
            "cached_tokens": usage.get("cached_tokens", 0),
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.get("completion_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        "total_tokens": usage.get("total_tokens", 0),
    }


# --- Ids ----------------------------------------------------------------------------------------
def response_id(task_id: UUID) -> str:
    return f"{RESPONSE_PREFIX}{task_id.hex}"


def task_id_of(name: str) -> UUID | None:
    """The task of a response's id; None for what is none."""
    return _uuid(name.removeprefix(RESPONSE_PREFIX)) if name.startswith(RESPONSE_PREFIX) else None


def item_id(kind: str, task_id: UUID, attempt: int, number: int) -> str:
    """The id of an output item: the `number`th of an attempt. It begins with its task's id."""
    return f"{ITEM_PREFIXES[kind]}{task_id.hex}{attempt:02x}{number:02x}"


def task_id_of_item(name: str) -> UUID | None:
    """The task that an output item belongs to; None for what is no such id."""
    prefix, separator, rest = name.partition("_")
    if f"{prefix}{separator}" not in ITEM_PREFIXES.values():
        return None
    return _uuid(rest[:_HEX_CHARS])


def _uuid(text: str) -> UUID | None:
    if len(text) != _HEX_CHARS:
        return None
    try:
        return UUID(hex=text)
    except ValueError:
        return None


# --- Items --------------------------------------------------------------------------------------
def text_part(text: str, logprobs: Sequence[object] = ()) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def refusal_part(text: str) -> JsonObject:
    return {"type": "refusal", "refusal": text}


def message_item(name: str, status: ItemStatus, part: JsonObject | None) -> JsonObject:
    """`part` None: it has no content yet."""
    content = [] if part is None else [part]
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def reasoning_item(name: str, status: ItemStatus, text: str | None) -> JsonObject:
    content = [] if text is None else [{"type": "reasoning_text", "text": text}]
    return {
        "id": name,
        "type": "reasoning",
        "status": status,
        "summary": [],
        "content": content,
        "encrypted_content": None,
    }


def function_call_item(name: str, status: ItemStatus, call: Mapping[str, Any]) -> JsonObject:
    return {
        "id": name,
        "type": "function_call",
        "status": status,
        "call_id": call["id"],
        "name": call["name"],
        "arguments": call["arguments"],
    }
