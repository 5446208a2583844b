"""DeepSeek's JSON: the events of a streamed answer, and an answer in one piece."""

from __future__ import annotations

import json
import time
import uuid
from functools import cached_property
from hashlib import md5
from typing import Any

from chat.llm.simulator.answers import SimulatedAnswer, SimulatedToolCall

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

#: What json.dumps(text, ensure_ascii=False) comes down to, at a fifth of its cost.
_text_json = json.encoder.encode_basestring
_MARK = "@@token@@"


def usage(answer: SimulatedAnswer) -> dict[str, Any]:
    """The token counts of an answer that was sent whole."""
    reasoning = len(answer.reasoning_tokens)
    completion = (
        reasoning
        + len(answer.tokens)
        + sum(1 + len(call.arguments) // 4 for call in answer.tool_calls)
    )
    hit = answer.prompt_tokens // 128 * 64
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": answer.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": hit},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "prompt_cache_hit_tokens": hit,
        "prompt_cache_miss_tokens": answer.prompt_tokens - hit,
    }


class EventWriter:
    """Writes the events of one answer. A token's event is a template with the token put in,
    since a whole JSON encoding for each would be most of what the simulator costs."""

    def __init__(self, model: str) -> None:
        self._head: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint(model),
        }

    @cached_property
    def _text_template(self) -> tuple[str, str]:
        return self._template({"content": _MARK, "reasoning_content": None})

    @cached_property
    def _reasoning_template(self) -> tuple[str, str]:
        return self._template({"content": None, "reasoning_content": _MARK})

    def opening(self, *, thinking: bool) -> bytes:
        """The first event, which has a role and no token."""
        first = {"content": None, "reasoning_content": ""}
        plain = {"content": "", "reasoning_content": None}
        return self._delta({"role": "assistant", **(first if thinking else plain)})

    def text(self, tokens: list[str]) -> bytes:
        """An event for each token of the answer."""
        return _fill(self._text_template, tokens)

    def reasoning(self, tokens: list[str]) -> bytes:
        """An event for each token of the reasoning."""
        return _fill(self._reasoning_template, tokens)

    def tool_call(self, index: int, call: SimulatedToolCall) -> list[bytes]:
        """The name first, then the arguments in pieces."""
        function = {"name": call.name, "arguments": ""}
        named = {"index": index, "id": call.id, "type": "function", "function": function}
        pieces = [call.arguments[i : i + 8] for i in range(0, len(call.arguments), 8)]
        more = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
        return [self._delta({"tool_calls": [part]}) for part in (named, *more)]

    def finish(self, reason: str, usage: dict[str, Any] | None) -> bytes:
        """The last event with a choice."""
        return self._delta({"content": "", "reasoning_content": None}, reason, usage)

    def usage_only(self, usage: dict[str, Any]) -> bytes:
        """An event without choices."""
        return _event({**self._head, "choices": [], "usage": usage})

    def _delta(
        self,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        usage: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**self._head, "choices": [choice], "usage": usage})

    def _template(self, delta: dict[str, Any]) -> tuple[str, str]:
        before, _, after = self._delta(delta).decode().partition(f'"{_MARK}"')
        return before, after


def error_event(error: dict[str, Any]) -> bytes:
    """An error in the middle of a stream."""
    return _event(error)


def broken_event() -> bytes:
    """An event that was cut, yet looks complete."""
    return b'data: {"id":"0","object":"chat.completion.chunk","choices":[{"ind\n\n'


def whole_answer(model: str, answer: SimulatedAnswer, finish_reason: str) -> dict[str, Any]:
    """The answer to a request that did not ask for a stream."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(answer.tool_calls)
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": str(uuid.uuid4()),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage(answer),
        "system_fingerprint": fingerprint(model),
    }


def fingerprint(model: str) -> str:
    """32 hex digits that stand for the model's build."""
    return md5(model.encode(), usedforsecurity=False).hexdigest()


def json_bytes(value: Any) -> bytes:
    """JSON as DeepSeek writes it: UTF-8, not escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


def _fill(template: tuple[str, str], tokens: list[str]) -> bytes:
    before, after = template
    return "".join([before + _text_json(token) + after for token in tokens]).encode()
