"""Messages as clients of OpenAI's API send them, in the form that `CompositeRequest` takes.

Unknown fields are ignored where the request is validated. Here are the old forms, and what cannot
be sent on.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from pydantic import JsonValue

from chat.openai.errors import OpenAIError
from chat.openai.requests import missing
from chat.services.parameters import Object

_ROLES = ("system", "user", "assistant", "tool")


def read_messages(messages: Sequence[object]) -> list[object]:
    """Return the messages with today's roles and tool calls.

    `developer` becomes `system`, which every provider accepts, and a refusal becomes text. An
    assistant's `function_call` becomes a tool call, and the message of the role `function` after it
    the result of that call. Raises OpenAIError. What is no message at all stays as it is, for the
    validation to refuse.
    """
    read: list[object] = []
    call_id: str | None = None
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            read.append(message)
            continue
        if message.get("audio") is not None:
            raise _refused("Audio is not supported.", index, "audio")
        if message.get("function_call") is not None and not message.get("tool_calls"):
            call_id = f"call_{index}"
            message = _with_tool_call(message, call_id)
        elif message.get("role") == "function":
            if call_id is None:
                raise _refused("No function_call comes before this message.", index, "role")
            message = {"role": "tool", "content": message.get("content"), "tool_call_id": call_id}
        elif message.get("role") == "developer":
            message = {**message, "role": "system"}
        _require_content(message, index)
        read.append(_without_empty_content(_with_refusal_as_text(message)))
    return read


def _require_content(message: Object, index: int) -> None:
    """Raise OpenAIError where a message of a known role has nothing to say."""
    texts = (message.get("content"), message.get("refusal"))
    says_something = message.get("tool_calls") or any(text is not None for text in texts)
    if message.get("role") in _ROLES and not says_something:
        raise missing(f"messages[{index}].content")


def _with_tool_call(message: Object, call_id: str) -> Object:
    call = {"id": call_id, "type": "function", "function": message["function_call"]}
    return {**message, "tool_calls": [call]}


def _with_refusal_as_text(message: Object) -> Object:
    """An assistant's refusal, as a client sends back the message that it got, is text to the model:
    few providers have a field or a part for it."""
    refusal, content = message.get("refusal"), message.get("content")
    if isinstance(refusal, str) and content is None and not message.get("tool_calls"):
        return {**message, "content": refusal, "refusal": None}
    if isinstance(content, list):
        return {**message, "content": [_as_text(part) for part in content]}
    return message


def _as_text(part: JsonValue) -> JsonValue:
    if isinstance(part, dict) and part.get("type") == "refusal" and "refusal" in part:
        return {"type": "text", "text": part["refusal"]}
    return part


def _without_empty_content(message: Object) -> Object:
    """An assistant's message of tool calls alone may have an empty list of parts."""
    if message.get("content") == [] and message.get("tool_calls"):
        return {**message, "content": None}
    return message


def _refused(message: str, index: int, field: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=f"messages[{index}].{field}")
