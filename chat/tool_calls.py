"""Messages and tool calls in the provider's form, and which results belong to which calls. Pure.

A task's result lists its calls flat (`id`, `name`, `arguments`); providers want them back as
`{"id", "type": "function", "function": {"name", "arguments"}}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NotRequired, Required, TypedDict, cast

from chat.reasons import Reason, ReasonError

if TYPE_CHECKING:
    # Rendering processes load this module, and need no pydantic.
    from pydantic import JsonValue


class FunctionCall(TypedDict):
    name: str
    #: JSON, as the model wrote it.
    arguments: str


class ToolCall(TypedDict):
    """A call as providers take it. Of some it has further fields, such as signatures."""

    id: str
    type: Literal["function"]
    function: FunctionCall
    extra_content: NotRequired[dict[str, JsonValue]]


Part = dict[str, "JsonValue"]
#: Text, or parts such as texts and images.
Content = str | list[Part] | None


class PromptMessage(TypedDict, total=False):
    """A message as providers take it."""

    role: Required[str]
    content: Content
    name: str
    refusal: str
    reasoning_content: str
    #: Of an assistant.
    tool_calls: list[ToolCall]
    #: Of a tool: the call whose result this is.
    tool_call_id: str


def from_result(call: Mapping[str, object]) -> ToolCall:
    """A call of a task's result as providers take it back, whatever it lacks."""
    function: FunctionCall = {
        "name": str(call.get("name") or ""),
        "arguments": str(call.get("arguments") or "{}"),
    }
    made: ToolCall = {"id": str(call.get("id") or ""), "type": "function", "function": function}
    if extra := call.get("extra_content"):
        made["extra_content"] = cast("dict[str, JsonValue]", extra)
    return made


def ids_of(message: PromptMessage) -> list[str]:
    """The ids of the calls that a message makes."""
    return [str(call.get("id")) for call in message.get("tool_calls") or ()]


def is_result(message: PromptMessage) -> bool:
    return message.get("role") == "tool"


class UnpairedError(ReasonError):
    """A call without a result, or a result without its call.

    `index` is the message's; None: the call was made before the first one.
    """

    def __init__(self, reason: Reason, index: int | None, field: str) -> None:
        super().__init__(reason)
        self.index = index
        self.field = field


def check_pairs(messages: Sequence[PromptMessage], awaited: Iterable[str] = ()) -> None:
    """Raise UnpairedError unless every call is followed by its results, and by nothing else.

    `awaited` are the ids of calls made before the first of these messages.
    """
    missing = Counter(awaited)
    caller: int | None = None
    for index, message in enumerate(messages):
        if is_result(message):
            call_id = str(message.get("tool_call_id"))
            if not missing[call_id]:
                raise UnpairedError(_about("result_without_call", call_id), index, "tool_call_id")
            missing[call_id] -= 1
            continue
        _require_none(missing, caller)
        missing, caller = Counter(ids_of(message)), index
    _require_none(missing, caller)


def _require_none(missing: Counter[str], caller: int | None) -> None:
    for call_id in missing.elements():
        raise UnpairedError(_about("call_without_result", call_id), caller, "tool_calls")


def _about(name: str, call_id: str) -> Reason:
    return Reason.of(name, id=repr(call_id[:200]))
