"""Request parameters that go to the provider: what a caller, a scene or a model may ask for.

One vocabulary for all three: what a request may not say, no scene is published with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from aily.rest.schema_rules import Params, rule_of
from chat.reasons import Reason
from chat.rendering.json_schema import SchemaRefusedError, check_bounds, is_small
from chat.rendering.output import OutputSchema
from chat.services.refused_values import refused
from chat.structured.formats import OutputFormat, asks_for_schema

MAX_EXTRA_BYTES = 65_536
MAX_NAME_CHARS = 64
#: Fields that aily writes itself in each call. `models` and `fallbacks` would name further models,
#: to OpenRouter and to LiteLLM's proxy, past what staff restrict, price and cap.
OWN_FIELDS = frozenset(
    {"best_of", "extra_body", "messages", "model", "stream", "stream_options", "user_id"}
    | {"fallbacks", "models"}
)

_NUMBERS = (
    *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "seed"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "top_logprobs"),
)

Object = dict[str, JsonValue]
ShortText = Annotated[str, Field(min_length=1, max_length=256)]
_Text = Annotated[str, Tag("(text)")]


class Strict(BaseModel):
    """Unknown fields are errors: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid")


def kind(value: object) -> str:
    """Which of a union's types a value is checked against, so that an error is about that one.

    In a field's path these names are left out.
    """
    if isinstance(value, list):
        return "(list)"
    return "(object)" if isinstance(value, dict) else "(text)"


def path_of(location: Sequence[str | int]) -> str:
    """The path of a field in an error, as in the sender's request."""
    parts = (str(part) for part in location)
    # Of the name of a field pydantic says "[key]".
    return ".".join(part for part in parts if not part.startswith("(") and part != "[key]")


TextOrList = Annotated[
    _Text | Annotated[list[str], Field(max_length=64), Tag("(list)")], Discriminator(kind)
]
TextOrObject = Annotated[_Text | Annotated[Object, Tag("(object)")], Discriminator(kind)]


class _NamedSchema(BaseModel):
    """`json_schema` of a `response_format`; further fields go to the provider as they are."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    schema_: Object | None = Field(None, alias="schema")
    strict: StrictBool | None = None
    description: str | None = Field(None, max_length=4_096)


class _SchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: _NamedSchema


def _check_format(response_format: Object) -> Object:
    if asks_for_schema(response_format):
        # Its errors become errors of this field. The object stays as it was written.
        _SchemaFormat.model_validate(response_format)
    return response_format


ResponseFormat = Annotated[Object, AfterValidator(_check_format)]


class KnownParameters(BaseModel):
    """The parameters that have a rule."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, gt=0, le=1_000_000)
    max_completion_tokens: int | None = Field(None, gt=0, le=1_000_000)
    n: Literal[1] | None = Field(None, description="A task has one answer.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: TextOrList | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024
    )
    logprobs: StrictBool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = Field(
        None, description="The form of the answer. Of a JSON Schema: every answer fits it."
    )
    tools: list[Object] | None = Field(None, max_length=128)
    tool_choice: TextOrObject | None = None
    parallel_tool_calls: StrictBool | None = None
    functions: list[Object] | None = Field(None, max_length=128)
    function_call: TextOrObject | None = None
    thinking: Object | None = None
    reasoning_effort: (
        # The last one is Groq's.
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "default"] | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None
    prediction: Object | None = None
    modalities: list[Literal["text"]] | None = Field(None, max_length=1)
    web_search_options: Object | None = None
    service_tier: ShortText | None = None
    store: StrictBool | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_retention: ShortText | None = None
    safety_identifier: ShortText | None = None
    user: str | None = Field(
        None,
        max_length=256,
        description="An end user of yours. Sent with your own id before it.",
    )

    @field_validator(*_NUMBERS, mode="before")
    @classmethod
    def _is_a_number(cls, value: object) -> object:
        """pydantic would take true and "1" for 1."""
        if isinstance(value, bool | str):
            raise PydanticCustomError("number_type", "a number is expected")
        return value


class ExtraBody(KnownParameters):
    """Further fields of the request's body."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        for name in self.model_extra or ():
            if name in OWN_FIELDS or len(name) > MAX_NAME_CHARS:
                raise refused(Reason.of("own_field", name=name[:MAX_NAME_CHARS]))
        if len(msgspec.json.encode(self.fields())) > MAX_EXTRA_BYTES:
            raise refused(Reason.of("more_bytes", limit=MAX_EXTRA_BYTES))
        return self

    def fields(self) -> Object:
        return self.model_dump(exclude_unset=True)


class Sampling(KnownParameters):
    """Request parameters passed to the provider as they are. Null: not even the default."""

    model_config = ConfigDict(extra="forbid")

    extra_body: ExtraBody | None = Field(
        None,
        description="Further fields of the request's body, for what has none here. Not those that "
        "aily writes itself: model, messages, stream and the like.",
    )

    def params(self) -> Object:
        """The parameters of the request, nulls too: those take a default away."""
        given = self.model_fields_set
        if given.isdisjoint(_SAMPLING):
            return {}
        params = {name: getattr(self, name) for name in _NAMES if name in given}
        return params | self.extra_body.fields() if self.extra_body else params


_NAMES = tuple(KnownParameters.model_fields)
_SAMPLING = frozenset(Sampling.model_fields)


class ParameterError(NamedTuple):
    """What is wrong with a parameter. `params`: for a text in another language, if there is one."""

    name: str
    message: str
    params: Params

    @property
    def field(self) -> str:
        return f"params.{self.name}".rstrip(".")


def parameter_errors(params: Mapping[str, JsonValue]) -> list[ParameterError]:
    """What is wrong with the parameters of a scene or model."""
    try:
        Sampling.model_validate(params)
    except ValidationError as error:
        return _errors(error)
    return _schema_errors(flat(params).get("response_format"))


def _schema_errors(response_format: JsonValue) -> list[ParameterError]:
    """What is wrong with a small JSON Schema; a large one is checked when a task is submitted."""
    if not isinstance(response_format, dict) or not asks_for_schema(response_format):
        return []
    schema = OutputFormat(response_format).schema
    try:
        check_bounds(schema)
        if is_small(schema):
            OutputSchema(schema)
    except SchemaRefusedError as error:
        name = "response_format.json_schema.schema"
        return [ParameterError(name, str(error), error.reason.as_params())]
    return []


def _errors(error: ValidationError) -> list[ParameterError]:
    details = error.errors(include_url=False, include_input=False)
    return [_parameter_error(detail) for detail in details]


def _parameter_error(detail: ErrorDetails) -> ParameterError:
    name = path_of(detail["loc"])
    if detail["type"] == "extra_forbidden":
        reason = Reason("no_such_parameter")
        return ParameterError(name, str(reason), reason.as_params())
    return ParameterError(name, detail["msg"].removeprefix("Value error, "), rule_of(detail))


def flat(params: Mapping[str, JsonValue]) -> Object:
    """The parameters with the fields of `extra_body` among them, which replace others."""
    extra = params.get("extra_body")
    others = {name: value for name, value in params.items() if name != "extra_body"}
    return {**others, **extra} if isinstance(extra, dict) else others


def merged(
    model: Mapping[str, JsonValue],
    scene: Mapping[str, JsonValue],
    request: Mapping[str, JsonValue],
) -> Object:
    """The parameters of a call: the request's before the scene's before the model's.

    A null takes defaults away: the request's all, the model's (what it cannot take) the scene's.
    """
    model = flat(model)
    refused = {name for name, value in model.items() if value is None}
    defaults = {**model, **flat(scene)}
    params = {name: value for name, value in defaults.items() if name not in refused}
    params.update(request)
    return {name: value for name, value in params.items() if value is not None}
