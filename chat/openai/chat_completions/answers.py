"""The two forms of a chat completion: the whole one, and the chunks of a stream.

Fields that OpenAI's schemas require are there with null; those that say nothing are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from chat.events import PIECE_CHARS
from chat.openai.chat_completions.body import AnswerForm

ID_PREFIX = "chatcmpl-"
_encode = msgspec.json.Encoder().encode


# --- What they are made of ----------------------------------------------------------------------
class Function(msgspec.Struct, frozen=True):
    name: str
    #: JSON, as the model wrote it.
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: Function
    type: str = "function"
    #: Gemini's: it wants it back with the call.
    extra_content: Mapping[str, Any] | UnsetType = UNSET


class Message(msgspec.Struct, frozen=True):
    content: str | None
    role: str = "assistant"
    refusal: str | None = None
    #: DeepSeek's field for what the model thought.
    reasoning_content: str | UnsetType = UNSET
    tool_calls: Sequence[ToolCall] | UnsetType = UNSET
    function_call: Function | UnsetType = UNSET


class Logprobs(msgspec.Struct, frozen=True):
    """The log probabilities of the tokens of a text."""

    content: Sequence[Any]
    refusal: None = None


class Choice(msgspec.Struct, frozen=True):
    message: Message
    finish_reason: str
    index: int = 0
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class FunctionDelta(msgspec.Struct, frozen=True):
    arguments: str
    name: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, frozen=True):
    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    extra_content: Mapping[str, Any] | UnsetType = UNSET


class Delta(msgspec.Struct, frozen=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: Sequence[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    delta: Delta
    finish_reason: str | None = None
    index: int = 0
    logprobs: Logprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: Sequence[Choice]
    usage: Usage
    object: str = "chat.completion"
    service_tier: str | UnsetType = UNSET


class Chunk(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: Sequence[ChunkChoice]
    #: Null in all chunks but the last one if the token counts were asked for, else left out.
    usage: Usage | UnsetType | None = UNSET
    object: str = "chat.completion.chunk"
    service_tier: str | UnsetType = UNSET


# --- What a task's result says ------------------------------------------------------------------
#: Reasons that other vendors have for what OpenAI calls `length`.
_LENGTHS = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)


def finish_reason(result: Mapping[str, Any], *, has_functions: bool = False) -> str:
    """Return the reason, one of OpenAI's, with which an answer ended."""
    reason = str(result.get("finish_reason") or "stop").lower()
    if reason in _LENGTHS:
        return "length"
    if reason == "content_filter":
        return reason
    if result.get("tool_calls"):
        return "function_call" if has_functions else "tool_calls"
    return "stop"


def is_refusal(result: Mapping[str, Any]) -> bool:
    """Whether the text says why the model does not answer, where the answer was to be JSON."""
    return bool(result.get("finish_reason") == "refusal")


def usage_of(usage: Mapping[str, int]) -> Usage:
    """The token counts of a call; zeros where the provider has given none."""
    return Usage(
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        usage.get("total_tokens", 0),
        PromptDetails(usage.get("cached_tokens", 0)),
        CompletionDetails(usage.get("reasoning_tokens", 0)),
    )


class Answer:
    """The answer to one call, in its id, its time and the names that all parts of it repeat."""

    def __init__(self, task_id: str, form: AnswerForm, model: str | None = None) -> None:
        """`model`: the one that answers, where that is known."""
        task = UUID(task_id)
        self.id = f"{ID_PREFIX}{task.hex}"
        #: The ids of tasks begin with their time in milliseconds.
        self.created = (task.int >> 80) // 1000
        self.model = model or form.model
        self._form = form
        self._tier: str | UnsetType = form.service_tier or UNSET
        self._no_usage = None if form.has_usage_chunk else UNSET

    # --- Whole ----------------------------------------------------------------------------------
    def whole(self, result: Mapping[str, Any], usage: Mapping[str, int]) -> bytes:
        """The JSON of the whole completion."""
        logprobs = result.get("logprobs")
        choice = Choice(
            self._message(result),
            self._finish_reason(result),
            logprobs=Logprobs(logprobs) if logprobs and not is_refusal(result) else None,
        )
        return _encode(
            ChatCompletion(
                self.id,
                self.created,
                self.model,
                [choice],
                usage_of(usage),
                service_tier=self._tier,
            )
        )

    def _message(self, result: Mapping[str, Any]) -> Message:
        calls = _tool_calls(result)
        text = result.get("text") or None
        old = self._form.has_functions
        if is_refusal(result):
            return Message(content=None, refusal=text or "")
        return Message(
            content=text if calls else text or "",
            reasoning_content=result.get("reasoning") or UNSET,
            tool_calls=calls if calls and not old else UNSET,
            function_call=calls[0].function if calls and old else UNSET,
        )

    def _finish_reason(self, result: Mapping[str, Any]) -> str:
        return finish_reason(result, has_functions=self._form.has_functions)

    # --- In chunks ------------------------------------------------------------------------------
    def first_chunk(self) -> bytes:
        return self._chunk(Delta(role="assistant", content="", refusal=None))

    def text_chunk(self, text: str, reasoning: str, logprobs: Sequence[msgspec.Raw] = ()) -> bytes:
        # A chunk of log probabilities alone has an empty text.
        content = text or ("" if logprobs else UNSET)
        return self._chunk(
            Delta(content=content, reasoning_content=reasoning or UNSET), logprobs=logprobs
        )

    def refusal_chunk(self, text: str) -> bytes:
        return self._chunk(Delta(refusal=text))

    def last_chunks(self, result: Mapping[str, Any], usage: Mapping[str, int]) -> list[bytes]:
        """Tool calls, the finish reason, and the token counts where they were asked for."""
        chunks = [self._chunk(delta) for delta in self._call_deltas(result)]
        chunks.append(self._chunk(Delta(), self._finish_reason(result)))
        if self._form.has_usage_chunk:
            chunk = Chunk(
                self.id,
                self.created,
                self.model,
                (),
                usage_of(usage),
                service_tier=self._tier,
            )
            chunks.append(_encode(chunk))
        return chunks

    def _call_deltas(self, result: Mapping[str, Any]) -> list[Delta]:
        calls = _tool_calls(result)
        if self._form.has_functions:
            return [
                Delta(function_call=delta)
                for call in calls[:1]
                for delta in _function_deltas(call.function)
            ]
        return [
            Delta(tool_calls=[delta])
            for index, call in enumerate(calls)
            for delta in _tool_call_deltas(index, call)
        ]

    def _chunk(
        self, delta: Delta, reason: str | None = None, logprobs: Sequence[msgspec.Raw] = ()
    ) -> bytes:
        found = Logprobs(logprobs) if logprobs else None
        return _encode(
            Chunk(
                self.id,
                self.created,
                self.model,
                (ChunkChoice(delta, reason, logprobs=found),),
                self._no_usage,
                service_tier=self._tier,
            )
        )


def _tool_calls(result: Mapping[str, Any]) -> list[ToolCall]:
    return [
        ToolCall(
            call["id"],
            Function(call["name"], call["arguments"]),
            extra_content=call.get("extra_content") or UNSET,
        )
        for call in result.get("tool_calls") or ()
    ]


def _function_deltas(function: Function) -> list[FunctionDelta]:
    """The name comes first; long arguments come in pieces that every reader of lines takes."""
    arguments = function.arguments
    starts = range(0, len(arguments), PIECE_CHARS)
    pieces = [FunctionDelta(arguments[start : start + PIECE_CHARS]) for start in starts]
    return [FunctionDelta("", function.name), *pieces]


def _tool_call_deltas(index: int, call: ToolCall) -> list[ToolCallDelta]:
    first, *others = _function_deltas(call.function)
    return [
        ToolCallDelta(index, first, call.id, call.type, call.extra_content),
        *(ToolCallDelta(index, other) for other in others),
    ]
