"""REST schemas of tasks, one by one and in lists."""

# Annotations stay objects here: ninja looks them up.

from datetime import datetime
from typing import Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from chat.api.tool_call_schemas import MAX_SHOWN_CALLS, ToolCallOut
from chat.models import Lane, Task
from chat.models.task_states import Status as TaskStatus
from chat.models.tool_calls import ToolCall
from chat.models.transitions.earlier_attempts import MAX_EARLIER_ATTEMPTS
from chat.services.submission import LaneName

StatusName = Literal[
    "queued",
    "running",
    "calling_tools",
    "requires_action",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
]


class WaitingFor(Schema):
    model_config = example(kind="pause", until="2026-11-29T15:00:00Z")

    kind: Literal["staff", "pause", "breaker", "limit", "retry"] = Field(
        description="staff: they have paused its model or provider. pause: the provider said that "
        "there are too many calls. breaker: it fails, and is left alone. limit: the requests or "
        "tokens of a minute are used up. retry: the task's own next attempt."
    )
    until: datetime | None = Field(description="About when; null: not known.")


_WAITING_FOR = "What keeps it beside its turn; null when nothing does."


class TaskAccepted(Schema):
    model_config = example(
        task_id="0198c0de-9c33-7000-8000-0123456789ab",
        status="queued",
        position=3,
        eta_seconds=1.5,
        waiting_for=None,
        history_from=None,
    )

    task_id: UUID
    status: str
    position: int | None = Field(description="1 is next; null when it is not waiting.")
    eta_seconds: float | None = Field(
        description="Until it starts, `waiting_for` included; null when that is not known."
    )
    waiting_for: WaitingFor | None = Field(None, description=_WAITING_FOR)
    history_from: UUID | None = Field(
        None,
        description="The first message of the conversation that the model is sent; null: all are.",
    )


class Usage(Schema):
    """Tokens of the call that answered a task, as the provider counted them."""

    model_config = example(
        prompt_tokens=400,
        completion_tokens=80,
        total_tokens=480,
        cached_tokens=0,
        reasoning_tokens=0,
    )

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = Field(description="Of the prompt's.")
    reasoning_tokens: int = Field(description="Of the completion's.")


class TaskError(Schema):
    """Why a task failed. Programs go by `code`."""

    model_config = example(code="provider_rate_limited", message="The provider answered 429.")

    code: str
    message: str


class OwnToolCall(Schema):
    """A function that the model asks to be called; `arguments` is its own JSON text, unchecked."""

    model_config = example(id="call_1", name="get_weather", arguments='{"city": "Paris"}')

    id: str = ""
    name: str = ""
    arguments: str = ""


class Result(Schema):
    model_config = example(
        text="The main point is this.",
        reasoning="",
        finish_reason="stop",
        tool_calls=[],
        output=None,
        logprobs=None,
    )

    text: str
    reasoning: str
    finish_reason: str | None
    tool_calls: list[OwnToolCall]
    output: JsonValue = Field(
        None, description="Of a task with a JSON Schema: the value of `text`, which fits it."
    )
    logprobs: list[dict[str, JsonValue]] | None = Field(
        None,
        description="The log probabilities of its tokens, as OpenAI has them; null unless "
        "the request asked for them and the provider gave them.",
    )


class EmbeddingsResult(Schema):
    """Vectors, in the order of the inputs: 32-bit floats, little-endian, in base64."""

    model_config = example(dimensions=2, embeddings=["zczMPc3MTD4="])

    dimensions: int | None = Field(description="Numbers in each; null once they are deleted.")
    embeddings: list[str] | None = Field(
        description="Null once they are deleted, EMBEDDINGS_KEPT_SECONDS after the end."
    )


class Timings(Schema):
    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    finished_at: datetime | None


class EarlierAttempt(Schema):
    """An attempt before the last one, which has its times in `timings`."""

    model_config = example(
        attempt=1,
        model="deepseek-flash",
        started_at="2026-11-29T15:00:00Z",
        first_token_at=None,
        ended_at="2026-11-29T15:00:01Z",
        outcome="provider_overloaded",
    )

    attempt: int
    model: str
    started_at: datetime
    first_token_at: datetime | None
    ended_at: datetime
    outcome: str = Field(
        description="The code of its error; `handed_back`: its worker was stopped; `worker_lost`: "
        "its worker died, at some time before `ended_at`."
    )


_EXAMPLE: dict[str, JsonValue] = {
    "task_id": "0198c0de-9c33-7000-8000-0123456789ab",
    "kind": "chat",
    "status": "succeeded",
    "attempt": 1,
    "scene": "summarize",
    "model": "deepseek-flash",
    "is_simulated": False,
    "lane": "normal",
    "api_key": 7,
    "webhook": None,
    "conversation_id": None,
    "history_from": None,
    "position": None,
    "eta_seconds": None,
    "waiting_for": None,
    "usage": {
        "prompt_tokens": 400,
        "completion_tokens": 80,
        "total_tokens": 480,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
    },
    "error": None,
    "served_from": "provider",
    "metadata": {"order": "4711"},
}


class _Task(Schema):
    task_id: UUID = Field(alias="pk")
    kind: Literal["chat", "embeddings"]
    status: StatusName
    attempt: int
    scene: str | None
    model: str = Field(alias="model.name")
    deployment: str | None = Field(
        description="The deployment of its model that its last attempt called; null: none yet."
    )
    is_simulated: bool
    lane: LaneName
    api_key: int | None = Field(
        alias="api_key_id", description="Id of the API key that submitted it; null: a session."
    )
    webhook: int | None = Field(
        alias="webhook_id", description="Id of the webhook endpoint that the request named."
    )
    conversation_id: UUID | None
    history_from: UUID | None = Field(
        description="The first message of the conversation that the model was sent, where older "
        "ones were left out, as it has grown too long; null: all were sent."
    )
    position: int | None
    eta_seconds: float | None
    waiting_for: WaitingFor | None = Field(None, description=_WAITING_FOR)
    usage: Usage | None
    error: TaskError | None
    served_from: Literal["provider", "flight", "cache"] = Field(
        description="Where the answer comes from: a call of its own, the call of an equal request "
        "at the same moment, or the cache. The last two cost nothing."
    )
    metadata: dict[str, object]
    timings: Timings

    @staticmethod
    def resolve_scene(task: Task) -> str | None:
        return task.scene.slug if task.scene else None

    @staticmethod
    def resolve_deployment(task: Task) -> str | None:
        return task.deployment or None

    @staticmethod
    def resolve_is_simulated(task: Task) -> bool:
        """Whether the called deployment is simulated, if the task was read with `with_called`."""
        own: bool = task.model.provider.is_simulated
        called: bool | None = vars(task).get("is_called_simulated")
        return own if called is None else called

    @staticmethod
    def resolve_lane(task: Task) -> str:
        return Lane(task.lane).name.lower()

    @staticmethod
    def resolve_usage(task: Task) -> dict[str, int] | None:
        """None too if what is stored is no usage, as of providers of before."""
        stored = task.usage
        if not isinstance(stored, dict) or not stored:
            return None
        counts = {name: stored.get(name) for name in Usage.model_fields}
        return {name: count if isinstance(count, int) else 0 for name, count in counts.items()}

    @staticmethod
    def resolve_timings(task: Task) -> Task:
        return task


class TaskOut(_Task):
    model_config = example(**_EXAMPLE, response_format=None, earlier_attempts=[], tool_calls=[])

    response_format: dict[str, object] | None = Field(
        description="The JSON Schema that its answer must fit: the request's, or its scene's."
    )
    earlier_attempts: list[EarlierAttempt] = Field(
        description=f"The last {MAX_EARLIER_ATTEMPTS} before the last one."
    )
    tool_calls: list[ToolCallOut] = Field(
        description=f"The last {MAX_SHOWN_CALLS} calls of tools that aily makes, long texts cut. "
        "Calls of the caller's own functions are in `result`."
    )
    result: Result | EmbeddingsResult | None = Field(
        description="Null until there is any text, or all vectors."
    )

    @staticmethod
    def resolve_earlier_attempts(task: Task) -> list[dict[str, object]]:
        return task.earlier_attempts or []

    @staticmethod
    def resolve_tool_calls(task: Task) -> list[ToolCall]:
        return list(task.loaded_tool_calls)

    @staticmethod
    def resolve_result(task: Task) -> dict[str, object] | None:
        has_any = task.text or task.reasoning or task.status == TaskStatus.SUCCEEDED
        return task.result() if has_any else None


class TaskItem(_Task):
    """A task of a list, without its result: a hundred of those may be hundreds of megabytes."""

    model_config = example(**_EXAMPLE, has_text=True, has_reasoning=False, has_tools=False)

    has_text: bool = Field(description="Whether its result has any; it is in the task itself.")
    has_reasoning: bool
    has_tools: bool = Field(description="Whether its model may call tools of aily's.")

    @staticmethod
    def resolve_metadata(task: Task) -> dict[str, object]:
        shown: dict[str, object] = vars(task)["shown_metadata"]
        return shown
