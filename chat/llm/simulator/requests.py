"""Validation of requests, with DeepSeek's error messages."""

from __future__ import annotations

import json
import re
from typing import Any

from chat.llm.simulator.answers import message_text, thinking_enabled, wants_json
from chat.llm.simulator.config import JsonObject
from chat.llm.simulator.vectors import MAX_DIMENSIONS, inputs_of

MODELS = ("deepseek-flash", "deepseek-v4-pro", "simulated-embeddings")

_ROLES = ("system", "developer", "user", "assistant", "tool", "latest_reminder")
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USER_ID = re.compile(r"[A-Za-z0-9_-]{1,512}")
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("max_tokens", 1, 393_216),
    ("max_completion_tokens", 1, 393_216),
    ("top_logprobs", 0, 20),
)


_STATUS_MESSAGES: dict[int, tuple[str, str, str]] = {  # message, type, code
    400: ("Simulated bad request", "invalid_request_error", "invalid_request_error"),
    401: (
        "Authentication Fails, Your api key is invalid",
        "authentication_error",
        "invalid_request_error",
    ),
    402: ("Insufficient Balance", "unknown_error", "invalid_request_error"),
    422: ("Simulated invalid parameter", "invalid_request_error", "invalid_request_error"),
    429: (
        "Rate limit reached: too many requests at once",
        "rate_limit_reached_error",
        "rate_limit_reached_error",
    ),
    503: ("Service is too busy", "service_unavailable_error", "service_unavailable_error"),
}
_OTHER_STATUS = ("Simulated server error", "internal_server_error", "internal_server_error")


class RequestRefusedError(Exception):
    """An answer with an HTTP error status and a JSON body."""

    def __init__(self, status: int, body: JsonObject, headers: dict[str, str]) -> None:
        super().__init__(body["error"]["message"])
        self.status = status
        self.body = body
        self.headers = headers


def error_body(message: str, kind: str, code: str) -> JsonObject:
    """DeepSeek's error shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def refusal(
    status: int, message: str | None = None, retry_after: str | None = None
) -> RequestRefusedError:
    """The refusal with this status, with DeepSeek's message unless another is given."""
    default, kind, code = _STATUS_MESSAGES.get(status, _OTHER_STATUS)
    headers = {"retry-after": retry_after} if retry_after else {}
    return RequestRefusedError(status, error_body(message or default, kind, code), headers)


def parse_request(raw: bytes, structured_output: str) -> JsonObject:
    """The JSON body of a chat completion. Raises RequestRefusedError with 400 or 422."""
    body = _parse_object(raw)
    _check_shape(body)
    for message in body["messages"]:
        _check_message(message)
    _check_values(body)
    _check_tools(body)
    _check_modes(body, structured_output)
    return body


def parse_embeddings_request(raw: bytes) -> JsonObject:
    """The JSON body of a request for embeddings. Raises RequestRefusedError with 400."""
    body = _parse_object(raw)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise _refuse("model", "is missing or no string")
    if not inputs_of(body):
        raise _refuse("input", "is missing, empty, or neither text nor tokens")
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise _refuse("encoding_format", "must be float or base64")
    dimensions = body.get("dimensions", 1)
    if type(dimensions) is not int or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _refuse("dimensions", f"must be a whole number from 1 to {MAX_DIMENSIONS}")
    return body


def _parse_object(raw: bytes) -> JsonObject:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise refusal(400, f"Failed to parse the request body as JSON: {error}") from None
    if not isinstance(body, dict):
        raise refusal(400, "the request body must be a JSON object")
    return body


def _refuse(field: str, problem: str, status: int = 400) -> RequestRefusedError:
    return refusal(status, f"Failed to deserialize the JSON body: `{field}` {problem}")


def _check_shape(body: JsonObject) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise _refuse("model", "is missing or no string")
    if not isinstance(body.get("messages"), list):
        raise _refuse("messages", "is missing or no array")
    if not body["messages"]:
        raise _refuse("messages", "is empty")
    for field, kind in (("stream", bool), ("stream_options", dict), ("tools", list)):
        if body.get(field) is not None and not isinstance(body[field], kind):
            raise _refuse(field, "has the wrong type")


def _check_message(message: Any) -> None:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise _refuse("messages", f"needs a role that is one of {', '.join(_ROLES)}")
    content = message.get("content")
    if not isinstance(content, str | list) and not message.get("tool_calls"):
        raise _refuse("messages", "needs a content in each of them")
    if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise _refuse("messages", "needs a tool_call_id with the role tool")


def _check_values(body: JsonObject) -> None:
    for field, low, high in _RANGES:
        value = body.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _refuse(field, "is no number")
        if not low <= value <= high:
            raise _refuse(field, f"must be from {low:g} to {high:g}", 422)
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > 16:
        raise _refuse("stop", "holds more than 16 sequences", 422)
    user_id = body.get("user_id")
    if user_id is not None and not (isinstance(user_id, str) and _USER_ID.fullmatch(user_id)):
        raise _refuse("user_id", "must be 1 to 512 letters, digits, _ or -", 422)


def _check_tools(body: JsonObject) -> None:
    tools = body.get("tools") or []
    if len(tools) > 128:
        raise _refuse("tools", "holds more than 128", 422)
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
            raise _refuse("tools", "needs a function name of 1 to 64 letters, digits, _ or -")
    choice = body.get("tool_choice")
    if choice not in (None, "none", "auto") and thinking_enabled(body):
        raise refusal(400, "tool_choice must be none or auto in the thinking mode")


#: By what is known of JSON Schemas: the types of `response_format` that are refused.
_REFUSED_FORMATS = {
    "native": (),
    "json_object": ("json_schema",),
    "prompt": ("json_schema", "json_object"),
}


def _check_modes(body: JsonObject, structured_output: str) -> None:
    messages = body["messages"]
    kind = (body.get("response_format") or {}).get("type")
    if kind in _REFUSED_FORMATS[structured_output]:
        raise refusal(400, "This response_format type is unavailable now")
    if wants_json(body) and not any("json" in message_text(m).lower() for m in messages):
        raise refusal(
            400, "Prompt must contain the word 'json' to use 'response_format' of 'json_object'."
        )
    if thinking_enabled(body) and any(
        m.get("tool_calls") and m.get("reasoning_content") is None for m in messages
    ):
        raise refusal(
            400, "The reasoning_content in the thinking mode must be passed back to the API."
        )
