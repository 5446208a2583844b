"""Tool calls in the provider's form, and which results belong to which. Pure.

A task's result lists its calls flat (`id`, `name`, `arguments`); providers want them back as
`{"id", "type": "function", "function": {"name", "arguments"}}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def from_result(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call of a task's result as providers take it back, whatever it lacks."""
    function = {"name": call.get("name") or "", "arguments": call.get("arguments") or "{}"}
    return {"id": call.get("id") or "", "type": "function", "function": function}


def ids_of(message: Mapping[str, Any]) -> list[str]:
    """The ids of the calls that a message makes."""
    return [str(call.get("id")) for call in message.get("tool_calls") or ()]


def is_result(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "tool"


class UnpairedError(ValueError):
    """A call without a result, or a result without its call.

    `index` is the message's; None: the call was made before the first one.
    """

    def __init__(self, message: str, index: int | None, field: str) -> None:
        super().__init__(message)
        self.index = index
        self.field = field


def check_pairs(messages: Sequence[Mapping[str, Any]], awaited: Iterable[str] = ()) -> None:
    """Raise UnpairedError unless every call is followed by its results, and by nothing else.

    `awaited` are the ids of calls made before the first of these messages.
    """
    missing = Counter(awaited)
    caller: int | None = None
    for index, message in enumerate(messages):
        if is_result(message):
            call_id = message.get("tool_call_id")
            if not missing[str(call_id)]:
                raise UnpairedError(_no_call(call_id), index, "tool_call_id")
            missing[str(call_id)] -= 1
            continue
        _require_none(missing, caller)
        missing, caller = Counter(ids_of(message)), index
    _require_none(missing, caller)


def _require_none(missing: Counter[str], caller: int | None) -> None:
    for call_id in missing.elements():
        raise UnpairedError(_no_result(call_id), caller, "tool_calls")


def _no_call(call_id: Any) -> str:
    return f"No tool call before this message has the id {str(call_id)[:200]!r}."


def _no_result(call_id: str) -> str:
    return (
        f"The tool call {call_id[:200]!r} must be followed by its result, a message of role tool."
    )
