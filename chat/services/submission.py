"""Requests for tasks: the fields that REST bodies and WebSocket frames share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from aily.rest.json_input import exceeds
from aily.rest.openapi import example
from chat.models import TaskKind
from chat.reasons import Reason
from chat.services.embedding_input import EmbeddingInput, check_result_size
from chat.services.messages import ChatMessage
from chat.services.parameters import Object, Sampling, ShortText, Strict
from chat.services.refused_values import refused

LaneName = Literal["interactive", "normal", "batch"]
#: Maximum size of `metadata` as JSON: lists of tasks contain it.
MAX_METADATA_BYTES = 16_384


def _check_size(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if metadata and exceeds(metadata, MAX_METADATA_BYTES):
        raise refused(Reason.of("more_bytes", limit=MAX_METADATA_BYTES))
    return metadata


Metadata = Annotated[dict[str, JsonValue], Field(max_length=32), AfterValidator(_check_size)]

SceneVersionNumber = Annotated[
    int | None,
    Field(
        ge=1,
        lt=2**31,
        description="A version of the scene, drafts too, in place of the live one: for those who "
        "may change the scene.",
    ),
]


def _webhook_kind(value: object) -> str:
    return "(url)" if isinstance(value, str) else "(id)"


#: An endpoint's id, or its URL.
WebhookName = Annotated[
    Annotated[int, Field(strict=True, ge=1, lt=2**63), Tag("(id)")]
    | Annotated[str, Field(min_length=1, max_length=2_000), Tag("(url)")],
    Discriminator(_webhook_kind),
]


FallbackName = Annotated[str, Field(min_length=1, max_length=100)]
#: Fallback models that a request may name.
MAX_FALLBACKS = 8


class TaskOptions(Strict):
    """Fields of every request: how the task is run."""

    model: str | None = Field(
        None, max_length=100, description="A model's name; default: the scene's."
    )
    fallbacks: list[FallbackName] | None = Field(
        None,
        max_length=MAX_FALLBACKS,
        description="Names of models that take over, in this order, when the model cannot answer. "
        "In place of the scene's; an empty list: none.",
    )
    lane: LaneName | None = Field(
        None, description="Interactive goes before normal, normal before batch."
    )
    deadline_seconds: float | None = Field(
        None, gt=0, le=604_800, description="The task expires when no answer is there by then."
    )
    metadata: Metadata = Field(default_factory=dict, description="Yours; returned, never sent on.")
    webhook: WebhookName | None = Field(
        None,
        description="One of your webhook endpoints, by id or URL. It is sent the end of this task, "
        "whatever its filters are.",
    )


#: Tools of its scene's that a request may name.
MAX_NAMED_TOOLS = 128
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


def _tool_kind(value: object) -> str:
    return "(name)" if isinstance(value, str) else "(function)"


#: The name of a tool that the scene offers, or a function of the caller's own, as OpenAI writes it.
ToolChoice = Annotated[
    Annotated[ToolName, Tag("(name)")] | Annotated[Object, Tag("(function)")],
    Discriminator(_tool_kind),
]


class WithTools(Sampling):
    """Parameters whose `tools` may also name some of those that the scene offers."""

    tools: list[ToolChoice] | None = Field(  # type: ignore[assignment]
        None,
        max_length=MAX_NAMED_TOOLS,
        description="Functions of your own, whose calls are given back to you. And names of tools "
        "that the scene offers: its model may call these alone, and none if the list is empty; "
        "without any names, all of them.",
    )
    require_approval: list[ToolName] | None = Field(
        None,
        max_length=MAX_NAMED_TOOLS,
        description="Names of tools that the scene offers: each of their calls waits for your "
        "approval. Those of which staff say so wait in any case.",
    )
    max_tool_calls: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="How many calls of the scene's tools may be made. Further ones are not made, "
        "and the model gets that as their results.",
    )

    @property
    def named_tools(self) -> list[str] | None:
        """The tools of the scene that may be called; None: all."""
        if self.tools is None:
            return None
        names = [tool for tool in self.tools if isinstance(tool, str)]
        return names if names or not self.tools else None

    def params(self) -> Object:
        params = super().params()
        if isinstance(tools := params.get("tools"), list):
            own: list[JsonValue] = [tool for tool in tools if isinstance(tool, dict)]
            if own:
                params["tools"] = own
            else:
                del params["tools"]
        return params


class SceneRequest(TaskOptions, WithTools):
    """Body of POST /api/llmchat/prompts/{scene}/api: its parameters go before the scene's."""

    model_config = example(variables={"text": "A long text ..."}, metadata={"order": "4711"})

    variables: dict[str, JsonValue] = Field(default_factory=dict)
    version: SceneVersionNumber = None


class CompositeRequest(TaskOptions, WithTools):
    """A scene with its variables, or messages, or both; within a conversation or not."""

    model_config = example(
        messages=[{"role": "user", "content": "Where should we spend our holidays?"}],
        lane="interactive",
        max_tokens=500,
        metadata={"order": "4711"},
    )

    kind: ClassVar[TaskKind] = TaskKind.CHAT

    scene: str | None = Field(None, max_length=50)
    variables: dict[str, JsonValue] = Field(default_factory=dict)
    version: SceneVersionNumber = None
    messages: list[ChatMessage] | None = Field(None, min_length=1, max_length=1000)
    conversation_id: UUID | None = Field(
        None, description="History is put before the messages; question and answer are kept."
    )
    replaces: UUID | None = Field(
        None,
        description="A task of the conversation: its question and answer are taken out of it.",
    )

    @model_validator(mode="after")
    def has_a_prompt(self) -> Self:
        if self.scene is None and self.messages is None:
            raise refused(Reason("scene_or_messages"))
        if self.scene is None and self.variables:
            raise refused(Reason("variables_of_scene"))
        if self.scene is None and self.version is not None:
            raise refused(Reason("version_of_scene"))
        if self.replaces is not None and self.conversation_id is None:
            raise refused(Reason("replaces_in_conversation"))
        return self


class EmbeddingsRequest(TaskOptions):
    """Texts, or lists of tokens, whose vectors are wanted."""

    kind: ClassVar[TaskKind] = TaskKind.EMBEDDINGS
    # What only requests for text have.
    scene: ClassVar[None] = None
    variables: ClassVar[dict[str, JsonValue]] = {}
    version: ClassVar[None] = None
    conversation_id: ClassVar[None] = None
    # Another model's vectors would be of no use.
    fallbacks: ClassVar[None] = None  # type: ignore[misc]
    named_tools: ClassVar[None] = None
    require_approval: ClassVar[None] = None
    max_tool_calls: ClassVar[None] = None

    model: str = Field(min_length=1, max_length=100)
    input: EmbeddingInput
    dimensions: int | None = Field(None, strict=True, ge=1, le=16_384)
    user: ShortText | None = None
    input_type: ShortText | None = Field(
        None, description="Query or passage, in the words of providers that tell them apart."
    )

    @field_validator("dimensions")
    @classmethod
    def has_room_for_its_vectors(cls, dimensions: int | None, info: ValidationInfo) -> int | None:
        if dimensions is not None and "input" in info.data:
            check_result_size(info.data["input"], dimensions)
        return dimensions

    def params(self) -> Object:
        """The fields that go to the provider."""
        given = {name: getattr(self, name) for name in _EMBEDDINGS_FIELDS}
        return {name: value for name, value in given.items() if value is not None}


#: Those that go to the provider.
_EMBEDDINGS_FIELDS = ("input", "dimensions", "user", "input_type")
TaskRequest = CompositeRequest | EmbeddingsRequest
