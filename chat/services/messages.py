"""Messages of a request, in OpenAI's form: text or parts, tool calls and their results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from chat.reasons import Reason
from chat.services.parameters import Object, ShortText, Strict, kind
from chat.services.refused_values import refused
from chat.tool_calls import Part, PromptMessage

T = TypeVar("T")

#: Fields of the flat form and of a stream's pieces, which mean nothing beside a function.
_NOT_OF_A_CALL = frozenset({"name", "arguments", "index"})
#: A part has the one that is named like its type, and no other.
_PART_FIELDS = ("text", "refusal", "image_url", "input_audio", "file", "video_url")


class ImageURL(Strict):
    url: str = Field(min_length=1, description="https://... or data:image/...;base64,...")
    detail: Literal["auto", "low", "high", "original"] | None = None


class VideoURL(Strict):
    url: str = Field(min_length=1)


class InputAudio(Strict):
    data: str = Field(min_length=1, description="Base64.")
    format: ShortText


class InputFile(Strict):
    file_id: ShortText | None = None
    file_data: str | None = Field(None, min_length=1)
    filename: ShortText | None = None


class ContentPart(Strict):
    """A part of a message. What it holds is in the field that is named like its type."""

    type: Literal["text", "image_url", "input_audio", "file", "video_url", "refusal"]
    text: str | None = Field(None, validate_default=True)
    refusal: str | None = Field(None, validate_default=True)
    image_url: ImageURL | None = Field(None, validate_default=True)
    input_audio: InputAudio | None = Field(None, validate_default=True)
    file: InputFile | None = Field(None, validate_default=True)
    video_url: VideoURL | None = Field(None, validate_default=True)
    cache_control: Object | None = None

    @field_validator(*_PART_FIELDS)
    @classmethod
    def _fits_the_type(cls, value: T, info: ValidationInfo) -> T:
        kind_of_part = info.data.get("type")
        if kind_of_part is not None and (value is None) == (info.field_name == kind_of_part):
            rule = "part_needs_field" if value is None else "part_without_field"
            raise refused(Reason.of(rule, type=kind_of_part))
        return value


class FunctionCall(Strict):
    name: ShortText
    arguments: str = Field("{}", description="JSON, as the model wrote it.")

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        if value is None:
            return "{}"
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class MessageToolCall(BaseModel):
    """What an assistant called. Further fields are the provider's, such as signatures."""

    model_config = ConfigDict(extra="allow")

    id: ShortText
    type: Literal["function"] = "function"
    function: FunctionCall
    extra_content: Object | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_a_result(cls, value: object) -> object:
        """Take calls in the form of a task's result: a name and arguments beside the id."""
        if not isinstance(value, dict):
            return value
        flat = {name: value[name] for name in ("name", "arguments") if name in value}
        rest = {name: given for name, given in value.items() if name not in _NOT_OF_A_CALL}
        return {"function": flat, **rest} if flat else rest


_Parts = Annotated[list[ContentPart], Field(min_length=1, max_length=256), Tag("(list)")]
Content = Annotated[Annotated[str, Tag("(text)")] | _Parts, Discriminator(kind)]


class ChatMessage(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: ShortText | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[MessageToolCall] | None = Field(None, max_length=128)
    tool_call_id: ShortText | None = Field(None, validate_default=True)

    @field_validator("tool_calls")
    @classmethod
    def _are_an_assistants(cls, value: T, info: ValidationInfo) -> T | None:
        if value and info.data.get("role", "assistant") != "assistant":
            raise refused(Reason("assistants_calls"))
        return value or None

    @field_validator("tool_call_id")
    @classmethod
    def _is_a_tools(cls, value: T, info: ValidationInfo) -> T:
        if info.data.get("role") == "tool" and value is None:
            raise refused(Reason("result_names_call"))
        if info.data.get("role", "tool") != "tool" and value is not None:
            raise refused(Reason("only_results_name_calls"))
        return value

    @model_validator(mode="after")
    def require_content(self) -> Self:
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise refused(Reason("content_required"))
        return self

    def as_sent(self) -> PromptMessage:
        return cast("PromptMessage", self.model_dump(exclude_none=True))


def length_of(messages: Sequence[ChatMessage]) -> int:
    """The characters of their contents: about the size of what is sent."""
    return sum(
        len(message.content)
        if isinstance(message.content, str)
        else sum(map(_length_of_part, message.content or ()))
        for message in messages
    )


def _length_of_part(part: ContentPart) -> int:
    data = (
        part.text,
        part.refusal,
        part.image_url and part.image_url.url,
        part.video_url and part.video_url.url,
        part.input_audio and part.input_audio.data,
        part.file and part.file.file_data,
    )
    return sum(len(text) for text in data if text)


def text_of(message: PromptMessage) -> str:
    """The text of a message as it is stored, with a word in brackets for each other part."""
    content = message.get("content")
    if not isinstance(content, list):
        return str(content or "")
    return "\n".join(filter(None, map(_text_of_part, content)))


def _text_of_part(part: Part) -> str:
    kind_of_part = str(part["type"])
    if kind_of_part in ("text", "refusal"):
        return str(part[kind_of_part])
    file = part.get("file")
    if isinstance(file, dict) and file.get("filename"):
        return f"[file: {file['filename']}]"
    return f"[{kind_of_part.removesuffix('_url').removeprefix('input_')}]"
