"""The body of `POST /v1/chat/completions`, read as a request for a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple, cast

from pydantic import JsonValue

from chat.openai.chat_completions.messages import read_messages
from chat.openai.chat_completions.tools import read_tools
from chat.openai.errors import OpenAIError
from chat.openai.requests import (
    as_object,
    composite_request,
    invalid_type,
    missing,
    model_of,
    run_options,
    unsupported,
)
from chat.openai.scenes import target_of, with_variables, with_variables_now
from chat.services.parameters import Object
from chat.services.submission import CompositeRequest

#: Fields that are refused, because the answer would silently lack what they ask for, and why.
_UNSUPPORTED = {
    "audio": "Answers are text: audio is not supported.",
    "moderation": "Answers are not moderated here.",
}
_FORMATS = ("text", "json_object", "json_schema")
#: Fields that are read here, or that mean something to OpenAI's own service alone: the provider is
#: not sent them.
_NOT_SENT = frozenset(
    {"n", "modalities", "stream", "stream_options", "store", "service_tier"}
    | {"logprobs", "top_logprobs"}
    | {"functions", "function_call", "tools", "tool_choice", *_UNSUPPORTED}
)


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """In which form an answer is to come."""

    #: As the caller has named it.
    model: str
    is_stream: bool = False
    #: A stream ends with a chunk of the token counts.
    has_usage_chunk: bool = False
    #: `functions`, the old form of tools, has an old form of answer.
    has_functions: bool = False
    service_tier: str | None = None


class ChatCompletionRequest(NamedTuple):
    """A request for a task, and in which form its answer is to come."""

    task: CompositeRequest
    form: AnswerForm


async def read_request(body: object, headers: Mapping[str, str]) -> ChatCompletionRequest:
    """Read a decoded body, and aily's own headers. Raises OpenAIError, which names the field.

    Unknown fields are ignored. Reads the scene's schema where metadata may hold its variables.
    """
    given = as_object(body)
    return _request(given, await with_variables(_task_fields(given, headers)))


def read_request_now(body: object, headers: Mapping[str, str]) -> ChatCompletionRequest:
    """`read_request` for a thread."""
    given = as_object(body)
    return _request(given, with_variables_now(_task_fields(given, headers)))


def _task_fields(given: Object, headers: Mapping[str, str]) -> Object:
    _refuse_unsupported(given)
    _read_stream(given)
    fields = {name: value for name, value in given.items() if name not in _NOT_SENT}
    fields |= target_of(model_of(given)) | read_tools(given) | run_options(headers, given)
    fields |= _read_logprobs(given)
    fields["messages"] = _messages(given, has_scene="scene" in fields)
    return fields


def _request(given: Object, task_fields: Object) -> ChatCompletionRequest:
    is_stream, has_usage_chunk = _read_stream(given)
    form = AnswerForm(
        model=model_of(given),
        is_stream=is_stream,
        has_usage_chunk=has_usage_chunk,
        has_functions=bool(given.get("functions") and not given.get("tools")),
        service_tier=cast("str | None", given.get("service_tier")),
    )
    return ChatCompletionRequest(composite_request(task_fields), form)


def _refuse_unsupported(given: Object) -> None:
    for name, message in _UNSUPPORTED.items():
        if given.get(name):
            raise unsupported(message, name)
    _boolean(given.get("store", False), "store")
    n = given.get("n", 1)
    if n != 1 or isinstance(n, bool):
        raise unsupported("A request has one answer: send it n times for n answers.", "n")
    if given.get("modalities", ["text"]) != ["text"]:
        raise unsupported("Answers are text alone.", "modalities")
    response_format = given.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") not in _FORMATS:
        message = f"The formats of answers are {', '.join(_FORMATS)}."
        raise unsupported(message, "response_format.type")


def _read_logprobs(given: Object) -> Object:
    """The parameters that ask for log probabilities; none that say no, which some providers do not
    know."""
    wanted, alternatives = given.get("logprobs"), given.get("top_logprobs")
    if not wanted:
        if alternatives:
            message = "logprobs must be true where top_logprobs is given."
            raise OpenAIError(HTTPStatus.BAD_REQUEST, message, param="top_logprobs")
        return {}
    return {"logprobs": wanted, **({"top_logprobs": alternatives} if alternatives else {})}


def _read_stream(given: Object) -> tuple[bool, bool]:
    """Whether to stream the answer, and its token counts with it."""
    is_stream = _boolean(given.get("stream", False), "stream")
    options = given.get("stream_options", {})
    if not isinstance(options, dict):
        raise invalid_type("an object", "stream_options")
    wants_usage = options.get("include_usage") or False
    return is_stream, is_stream and _boolean(wants_usage, "stream_options.include_usage")


def _boolean(value: JsonValue, param: str) -> bool:
    if not isinstance(value, bool):
        raise invalid_type("true or false", param)
    return value


def _messages(given: Object, *, has_scene: bool) -> JsonValue:
    messages = given.get("messages")
    if not messages and has_scene:
        return None
    if messages is None:
        raise missing("messages")
    return cast("JsonValue", read_messages(messages)) if isinstance(messages, list) else messages
