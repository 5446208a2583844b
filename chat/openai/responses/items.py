"""Input items, as clients send them: checked, given ids, and turned into messages.

A list of items is flatter than messages: an assistant's text, its reasoning and each of its calls
are items of their own, and become one message here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from chat.models.ids import uuid7
from chat.openai.errors import OpenAIError
from chat.openai.requests import invalid_type, missing, unsupported
from chat.openai.responses.objects import JsonObject
from chat.tool_calls import Content, Part, PromptMessage, ToolCall

#: Items of one request, and parts of one message.
MAX_ITEMS = 1_000
MAX_PARTS = 256
_ROLES = ("user", "assistant", "system", "developer")
#: Prefixes of the ids of input items, by their types.
_PREFIXES = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "mcp_approval_response": "mcpa_",
}
#: Items of earlier responses that say nothing to the model.
_SILENT = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response")
_MAX_ID_CHARS = 256
_DETAILS = ("auto", "low", "high", "original")


def read_items(given: object) -> list[JsonObject]:
    """Return the input as items, each with its type. Raises OpenAIError, which names the item."""
    if isinstance(given, str):
        return [_message({"role": "user", "content": given}, "input")]
    if not isinstance(given, list):
        raise invalid_type("a text or a list of items", "input")
    if len(given) > MAX_ITEMS:
        raise _invalid(f"There are more than {MAX_ITEMS} items.", "input")
    return [_item(item, f"input[{index}]") for index, item in enumerate(given)]


def referenced_ids(items: Iterable[JsonObject]) -> list[str]:
    """The ids of the items that an input refers to instead of having them."""
    return [item["id"] for item in items if item["type"] == "item_reference"]


def with_references(
    items: Iterable[JsonObject], found: Mapping[str, JsonObject]
) -> list[JsonObject]:
    """Return the items with those that are referred to in their places. Raises OpenAIError."""
    return [
        _referenced(item["id"], found) if item["type"] == "item_reference" else item
        for item in items
    ]


def _referenced(name: str, found: Mapping[str, JsonObject]) -> JsonObject:
    if name not in found:
        message = f"Item with id '{name[:_MAX_ID_CHARS]}' not found."
        raise OpenAIError(HTTPStatus.NOT_FOUND, message, param="input")
    return found[name]


def with_ids(items: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the items as they are stored, each with an id."""
    return [
        item if item.get("id") else {"id": f"{_PREFIXES[item['type']]}{uuid7().hex}", **item}
        for item in items
    ]


# --- Checking -----------------------------------------------------------------------------------
def _item(item: object, param: str) -> JsonObject:
    if not isinstance(item, dict):
        raise invalid_type("an object", param)
    item = {name: value for name, value in item.items() if value is not None}
    kind = item.get("type", "message" if "role" in item else None)
    if kind is None and item.keys() == {"id"}:
        kind = "item_reference"
    if kind is None:
        raise missing(f"{param}.type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise unsupported(f"Items of the type {str(kind)[:64]} are not supported.", f"{param}.type")
    name = item.get("id")
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= _MAX_ID_CHARS):
        raise invalid_type(f"a text of up to {_MAX_ID_CHARS} characters", f"{param}.id")
    checked = read(item, param)
    return checked if name is None else {"id": name, **checked}


def _message(item: JsonObject, param: str) -> JsonObject:
    role = item.get("role")
    if role is None:
        raise missing(f"{param}.role")
    if role not in _ROLES:
        raise _invalid(f"A role is one of {', '.join(_ROLES)}.", f"{param}.role")
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        parts = [_text_part(kind, content)]
    elif content == [] and role != "assistant":
        raise _invalid("It is empty.", f"{param}.content")
    elif isinstance(content, list):
        parts = _parts(content, f"{param}.content", is_assistant=role == "assistant")
    elif content is None:
        raise missing(f"{param}.content")
    else:
        raise invalid_type("a text or a list of parts", f"{param}.content")
    return {"type": "message", "role": role, "status": "completed", "content": parts}


def _text_part(kind: str, text: str) -> JsonObject:
    if kind == "output_text":
        return {"type": kind, "text": text, "annotations": [], "logprobs": []}
    return {"type": kind, "text": text}


def _parts(content: Sequence[object], param: str, *, is_assistant: bool) -> list[JsonObject]:
    if len(content) > MAX_PARTS:
        raise _invalid(f"There are more than {MAX_PARTS} parts.", param)
    return [
        _part(part, f"{param}[{index}]", is_assistant=is_assistant)
        for index, part in enumerate(content)
    ]


def _part(part: object, param: str, *, is_assistant: bool) -> JsonObject:
    if not isinstance(part, dict):
        raise invalid_type("an object", param)
    kind = str(part.get("type"))
    if kind in ("input_text", "output_text", "text"):
        text = _text(part, "text", param)
        return _text_part("output_text" if is_assistant else "input_text", text)
    if kind == "refusal" and is_assistant:
        return {"type": kind, "refusal": _text(part, "refusal", param)}
    if is_assistant or kind not in _MEDIA:
        raise unsupported(f"Parts of the type {kind[:64]} are not supported here.", param)
    return _MEDIA[kind](part, param)


def _image(part: JsonObject, param: str) -> JsonObject:
    detail = part.get("detail") or "auto"
    if detail not in _DETAILS:
        raise _invalid(f"It is one of {', '.join(_DETAILS)}.", f"{param}.detail")
    if part.get("image_url") is None:
        raise unsupported("Images are given as image_url, also as a data URL.", param)
    url = _text(part, "image_url", param)
    return {"type": "input_image", "image_url": url, "detail": detail}


def _file(part: JsonObject, param: str) -> JsonObject:
    if part.get("file_data") is None:
        raise unsupported("Files are given as file_data.", param)
    file = {"type": "input_file", "file_data": _text(part, "file_data", param)}
    if part.get("filename") is not None:
        file["filename"] = _text(part, "filename", param)
    return file


def _audio(part: JsonObject, param: str) -> JsonObject:
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        raise missing(f"{param}.input_audio")
    names = ("data", "format")
    fields = {name: _text(audio, name, f"{param}.input_audio") for name in names}
    return {"type": "input_audio", "input_audio": fields}


_MEDIA: Mapping[str, Callable[[JsonObject, str], JsonObject]] = {
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _function_call(item: JsonObject, param: str) -> JsonObject:
    return {
        "type": "function_call",
        "call_id": _name(item, "call_id", param),
        "name": _name(item, "name", param),
        "arguments": _text(item, "arguments", param),
        "status": "completed",
    }


def _function_call_output(item: JsonObject, param: str) -> JsonObject:
    output = item.get("output")
    if output is None:
        raise missing(f"{param}.output")
    if isinstance(output, list):
        output = _parts(output, f"{param}.output", is_assistant=False)
    elif not isinstance(output, str):
        raise invalid_type("a text or a list of parts", f"{param}.output")
    return {
        "type": "function_call_output",
        "call_id": _name(item, "call_id", param),
        "output": output,
        "status": "completed",
    }


def _reasoning(item: JsonObject, param: str) -> JsonObject:
    texts = {
        name: [
            {"type": kind, "text": _text(part, "text", f"{param}.{name}[{index}]")}
            for index, part in enumerate(_list(item, name, param))
        ]
        for name, kind in (("summary", "summary_text"), ("content", "reasoning_text"))
    }
    return {"type": "reasoning", **texts}


def _item_reference(item: JsonObject, param: str) -> JsonObject:
    return {"type": "item_reference", "id": _name(item, "id", param)}


def _mcp_call(item: JsonObject, param: str) -> JsonObject:
    """A call that aily made in an earlier response."""
    outcome = item.get("output")
    if outcome is None:
        outcome = item.get("error")
    if outcome is not None and not isinstance(outcome, str):
        outcome = json.dumps(outcome)
    return {
        "type": "mcp_call",
        "id": _name(item, "id", param),
        "server_label": _name(item, "server_label", param),
        "name": _name(item, "name", param),
        "arguments": _text(item, "arguments", param),
        "output": outcome or "",
        "status": "completed",
    }


def _mcp_list_tools(item: JsonObject, param: str) -> JsonObject:
    return {"type": "mcp_list_tools", "id": _name(item, "id", param)}


def _mcp_approval_request(item: JsonObject, param: str) -> JsonObject:
    return {"type": "mcp_approval_request", "id": _name(item, "id", param)}


def _mcp_approval_response(item: JsonObject, param: str) -> JsonObject:
    approve, reason = item.get("approve"), item.get("reason")
    if approve is None:
        raise missing(f"{param}.approve")
    if not isinstance(approve, bool):
        raise invalid_type("true or false", f"{param}.approve")
    if reason is not None and not isinstance(reason, str):
        raise invalid_type("a text", f"{param}.reason")
    return {
        "type": "mcp_approval_response",
        "approval_request_id": _name(item, "approval_request_id", param),
        "approve": approve,
        "reason": reason,
    }


_READERS: Mapping[str, Callable[[JsonObject, str], JsonObject]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_call_output,
    "reasoning": _reasoning,
    "item_reference": _item_reference,
    "mcp_call": _mcp_call,
    "mcp_list_tools": _mcp_list_tools,
    "mcp_approval_request": _mcp_approval_request,
    "mcp_approval_response": _mcp_approval_response,
}


def _text(fields: object, name: str, param: str) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    if value is None:
        raise missing(f"{param}.{name}")
    if not isinstance(value, str):
        raise invalid_type("a text", f"{param}.{name}")
    return value


def _name(fields: JsonObject, name: str, param: str) -> str:
    value = _text(fields, name, param)
    if not 0 < len(value) <= _MAX_ID_CHARS:
        raise _invalid(f"It has 1 to {_MAX_ID_CHARS} characters.", f"{param}.{name}")
    return value


def _list(fields: JsonObject, name: str, param: str) -> list[object]:
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise invalid_type("a list", f"{param}.{name}")
    if len(value) > MAX_PARTS:
        raise _invalid(f"There are more than {MAX_PARTS} parts.", f"{param}.{name}")
    return value


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")


# --- Messages -----------------------------------------------------------------------------------
def to_messages(items: Iterable[Mapping[str, Any]]) -> list[PromptMessage]:
    """Convert items to messages, in the form that providers accept."""
    messages: list[PromptMessage] = []
    reasoning = ""
    for item in items:
        match item["type"]:
            case "reasoning":
                parts = item.get("content") or item.get("summary") or ()
                reasoning = "".join(part["text"] for part in parts)
            case "function_call":
                reasoning = _add_call(messages, item, reasoning)
            case "function_call_output":
                messages.append(_result(item))
                reasoning = ""
            case "mcp_call":
                reasoning = _add_call(messages, {**item, "call_id": item["id"]}, reasoning)
                messages.append(_result({**item, "call_id": item["id"]}))
            case kind if kind in _SILENT:
                pass
            case _:
                message = _prompt_message(item)
                # Strict providers take no answer that says nothing.
                if message["content"] or message["role"] != "assistant":
                    messages.append(message)
                # Reasoning belongs to the calls of the same turn, which may follow the text.
                reasoning = reasoning if item["role"] == "assistant" else ""
    return messages


def _add_call(messages: list[PromptMessage], item: Mapping[str, Any], reasoning: str) -> str:
    """Add a call to the assistant's message that it belongs to. Returns what reasoning is left."""
    call: ToolCall = {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"] or "{}"},
    }
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    message = messages[-1]
    message["tool_calls"] = [*message.get("tool_calls", ()), call]
    if reasoning:
        # DeepSeek asks for the reasoning that led to calls.
        message["reasoning_content"] = reasoning
    return ""


def _result(item: Mapping[str, Any]) -> PromptMessage:
    output = item["output"]
    content = output if isinstance(output, str) else _content(output)
    return {"role": "tool", "content": content, "tool_call_id": item["call_id"]}


def _prompt_message(item: Mapping[str, Any]) -> PromptMessage:
    # Every provider accepts `system`, and few accept its newer name.
    role = "system" if item["role"] == "developer" else item["role"]
    return {"role": role, "content": _content(item["content"])}


def _content(parts: Sequence[Mapping[str, Any]]) -> Content:
    """Texts as one, which every provider takes; a list where there is more than text."""
    if all("text" in part or "refusal" in part for part in parts):
        return "\n\n".join(part.get("text") or part.get("refusal") or "" for part in parts)
    return [_content_part(part) for part in parts]


def _content_part(part: Mapping[str, Any]) -> Part:
    match part["type"]:
        case "input_image":
            url = {"url": part["image_url"], "detail": part["detail"]}
            return {"type": "image_url", "image_url": cast("Any", url)}
        case "input_file":
            file = {name: value for name, value in part.items() if name != "type"}
            return {"type": "file", "file": cast("Any", file)}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            return {"type": "text", "text": part["text"]}
