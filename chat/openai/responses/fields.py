"""The body of `POST /v1/responses`: its fields, checked, and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chat.openai.errors import OpenAIError
from chat.openai.requests import (
    as_object,
    missing,
    model_of,
    of_validation,
    run_options,
    unsupported,
)
from chat.openai.responses.hosted_tools import HostedServer
from chat.openai.responses.items import read_items
from chat.openai.responses.objects import JsonObject
from chat.openai.responses.tools import read_tools
from chat.services.parameters import Object, ShortText

#: Fields that are refused, because what they ask for would silently be left out, and why.
_UNSUPPORTED = {
    "conversation": "Conversations are continued by previous_response_id here.",
    "context_management": "Contexts are not compacted here.",
    "prompt": "A prompt of aily's is a scene: name the model scene:<slug>.",
    "moderation": "Answers are not moderated here.",
}
#: Fields of a task's request that OpenAI's API does not have.
_OF_AILY = (
    *("deadline_seconds", "lane", "variables", "version", "webhook", "extra_body", "logit_bias"),
    *("min_p", "repetition_penalty", "seed", "stop", "thinking", "top_k"),
)
#: Deadlines of completion windows.
WINDOW_SECONDS = {"2h": 7_200, "8h": 28_800}
_LOGPROBS = "message.output_text.logprobs"

_MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
_MetadataValue = Annotated[str, Field(max_length=512)]


class _Lenient(BaseModel):
    """Unknown fields are ignored, as OpenAI adds some every month."""

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        """Null means the same as nothing."""
        if isinstance(value, dict):
            return {name: item for name, item in value.items() if item is not None}
        return value


class _Reasoning(_Lenient):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class _Format(_Lenient):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: str | None = None
    strict: bool | None = None
    json_schema: Object | None = Field(default=None, alias="schema")


class _Text(_Lenient):
    format: _Format = Field(default_factory=_Format)
    verbosity: Literal["low", "medium", "high"] | None = None


class _BackgroundOptions(_Lenient):
    completion_window: Literal["soonest", "2h", "8h"] = "soonest"
    continuation_id: ShortText | None = None


class _Fields(_Lenient):
    background: bool = False
    background_options: _BackgroundOptions = Field(default_factory=_BackgroundOptions)
    include: Annotated[list[str], Field(max_length=32)] = Field(default_factory=list)
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, gt=0, le=1_000_000)
    max_tool_calls: int | None = Field(None, gt=0, le=1_000_000)
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] = Field(
        default_factory=dict
    )
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    previous_response_id: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_retention: ShortText | None = None
    reasoning: _Reasoning = Field(default_factory=_Reasoning)
    safety_identifier: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    service_tier: ShortText | None = None
    store: bool = True
    stream: bool = False
    stream_options: Object = Field(default_factory=dict)
    temperature: float | None = Field(None, ge=0, le=2)
    text: _Text = Field(default_factory=_Text)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    top_p: float | None = Field(None, ge=0, le=1)
    truncation: Literal["auto", "disabled"] = "disabled"
    user: Annotated[str, Field(max_length=256)] | None = None


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """What a caller asks for."""

    model: str
    #: Input items, as they were sent; they may refer to others.
    items: list[JsonObject]
    instructions: str | None
    previous_response_id: str | None
    is_stored: bool
    is_streamed: bool
    is_background: bool
    truncates: bool
    #: Fields of the task's request, but for its model and messages.
    task_fields: Object
    #: The fields of the request that the response repeats.
    echo: JsonObject
    #: The tool servers that it names.
    hosted: list[HostedServer]


def read_call(body: object, headers: Mapping[str, str]) -> ResponseCall:
    """Read a decoded body, and aily's own headers. Raises OpenAIError, which names the field."""
    given = as_object(body)
    _refuse_unsupported(given)
    model = model_of(given)
    try:
        fields = _Fields.model_validate(given)
    except ValidationError as error:
        raise of_validation(error) from None
    _check_together(fields, given)
    tools = read_tools(given)
    return ResponseCall(
        model=model,
        items=read_items(given.get("input", [])),
        instructions=fields.instructions,
        previous_response_id=fields.previous_response_id,
        is_stored=fields.store,
        is_streamed=fields.stream,
        is_background=fields.background,
        truncates=fields.truncation == "auto",
        task_fields={
            **{name: given[name] for name in _OF_AILY if name in given},
            **_parameters(fields),
            **tools.parameters,
            **_run_options(fields, headers, given),
            "metadata": dict(fields.metadata),
        },
        echo={**_echo(model, fields), "tools": tools.tools, "tool_choice": tools.choice},
        hosted=tools.hosted,
    )


def _refuse_unsupported(given: Object) -> None:
    for name, message in _UNSUPPORTED.items():
        if given.get(name):
            raise unsupported(message, name)


def _check_together(fields: _Fields, given: Object) -> None:
    if fields.background and not fields.store:
        raise _invalid("A background response is stored: store must not be false.", "store")
    if fields.background_options.completion_window in WINDOW_SECONDS:
        if not fields.background:
            raise _invalid("A completion window needs background: true.", "background_options")
        if fields.stream:
            raise _invalid("With a completion window there is no stream.", "stream")
    elif given.get("background_options") and not fields.background:
        raise _invalid("background_options need background: true.", "background_options")
    form = fields.text.format
    if form.type == "json_schema":
        if form.name is None:
            raise missing("text.format.name")
        if form.json_schema is None:
            raise missing("text.format.schema")


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")


# --- What goes to the task ----------------------------------------------------------------------
def _parameters(fields: _Fields) -> Object:
    parameters: Object = {
        "temperature": fields.temperature,
        "top_p": fields.top_p,
        "presence_penalty": fields.presence_penalty,
        "frequency_penalty": fields.frequency_penalty,
        # The older name: most servers know it, and presets rename it for those that do not.
        "max_tokens": fields.max_output_tokens,
        "parallel_tool_calls": fields.parallel_tool_calls,
        "reasoning_effort": fields.reasoning.effort,
        "verbosity": fields.text.verbosity,
        "response_format": _response_format(fields.text.format),
        "prompt_cache_key": fields.prompt_cache_key,
        "prompt_cache_retention": fields.prompt_cache_retention,
        "safety_identifier": fields.safety_identifier,
        "user": fields.user,
        "max_tool_calls": fields.max_tool_calls,
        "logprobs": True if fields.top_logprobs or _LOGPROBS in fields.include else None,
        "top_logprobs": fields.top_logprobs or None,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _response_format(form: _Format) -> Object | None:
    """The format in the form of chat completions, which nests what is flat here."""
    if form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "json_object"}
    schema: Object = {
        "name": form.name,
        "description": form.description,
        "schema": form.json_schema,
        "strict": form.strict,
    }
    given: Object = {name: value for name, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": given}


def _run_options(fields: _Fields, headers: Mapping[str, str], given: Object) -> Object:
    options = run_options(headers, given)
    seconds = WINDOW_SECONDS.get(fields.background_options.completion_window)
    if seconds is not None:
        options.setdefault("lane", "batch")
        options.setdefault("deadline_seconds", seconds)
    return options


# --- What comes back ----------------------------------------------------------------------------
def _echo(model: str, fields: _Fields) -> JsonObject:
    tier = fields.service_tier
    return {
        "model": model,
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "max_tool_calls": fields.max_tool_calls,
        "metadata": dict(fields.metadata),
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "previous_response_id": fields.previous_response_id,
        # OpenAI's document has no null in these, and Open Responses' wants them in any case.
        "prompt_cache_key": fields.prompt_cache_key or "",
        "prompt_cache_retention": fields.prompt_cache_retention,
        "presence_penalty": _or(fields.presence_penalty, 0.0),
        "frequency_penalty": _or(fields.frequency_penalty, 0.0),
        "reasoning": {"effort": fields.reasoning.effort, "summary": fields.reasoning.summary},
        "safety_identifier": fields.safety_identifier or "",
        "service_tier": "default" if tier in (None, "auto") else tier,
        "store": fields.store,
        "temperature": _or(fields.temperature, 1.0),
        "text": {
            "format": fields.text.format.model_dump(by_alias=True, exclude_none=True),
            "verbosity": fields.text.verbosity or "medium",
        },
        "top_logprobs": fields.top_logprobs or 0,
        "top_p": _or(fields.top_p, 1.0),
        "truncation": fields.truncation,
        "user": fields.user or "",
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
