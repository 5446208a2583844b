"""DeepSeek's JSON: the events of a streamed answer, and an answer in one piece."""

from __future__ import annotations

import json
import time
import uuid
from functools import lru_cache
from hashlib import md5
from typing import Any

from chat.llm.simulator.answers import SimulatedAnswer, SimulatedToolCall
from chat.llm.simulator.config import JsonObject

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

#: What json.dumps(text, ensure_ascii=False) comes down to, at a fifth of its cost.
_text_json = json.encoder.encode_basestring
#: JSON as DeepSeek writes it: not escaped. Kept, as json.dumps makes an encoder for each call.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
#: What an event has after its delta, unless it is the last.
_AFTER = ',"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
_AFTER_LOGPROBS = ',"finish_reason":null}],"usage":null}\n\n'


def usage(answer: SimulatedAnswer) -> JsonObject:
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
    """Writes the events of one answer. Nearly all of an event is text that is there already, since
    a whole JSON encoding for each would be most of what the simulator costs."""

    def __init__(self, model: str, alternatives: int | None = None) -> None:
        """`alternatives`: how many other tokens come with the log probability of each; None: there
        are no log probabilities."""
        self._alternatives = alternatives
        ids = f'"id":"{uuid.uuid4()}","object":"chat.completion.chunk","created":{int(time.time())}'
        self._head = f"data: {{{ids},{_model_fields(model)},"
        # Up to the delta.
        self._before = f'{self._head}"choices":[{{"index":0,"delta":'

    def opening(self, *, thinking: bool) -> bytes:
        """The first event, which has a role and no token."""
        if thinking:
            return self._delta('{"role":"assistant","content":null,"reasoning_content":""}')
        return self._delta('{"role":"assistant","content":"","reasoning_content":null}')

    def text(self, tokens: list[str]) -> bytes:
        """An event for each token of the answer."""
        if self._alternatives is not None:
            return b"".join(self._text_with_logprobs(token) for token in tokens)
        return self._fill('{"content":', tokens, ',"reasoning_content":null}')

    def _text_with_logprobs(self, token: str) -> bytes:
        delta = _json({"content": token, "reasoning_content": None})
        logprobs = _json(logprobs_of([token], self._alternatives or 0))
        return f'{self._before}{delta},"logprobs":{logprobs}{_AFTER_LOGPROBS}'.encode()

    def reasoning(self, tokens: list[str]) -> bytes:
        """An event for each token of the reasoning."""
        return self._fill('{"content":null,"reasoning_content":', tokens, "}")

    def tool_call(self, index: int, call: SimulatedToolCall) -> list[bytes]:
        """The name first, then the arguments in pieces."""
        function = {"name": call.name, "arguments": ""}
        named = {"index": index, "id": call.id, "type": "function", "function": function}
        pieces = [call.arguments[i : i + 8] for i in range(0, len(call.arguments), 8)]
        more = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
        return [self._delta(_json({"tool_calls": [part]})) for part in (named, *more)]

    def finish(self, reason: str, usage: JsonObject | None) -> bytes:
        """The last event with a choice."""
        delta = '{"content":"","reasoning_content":null}'
        end = f'"finish_reason":{_text_json(reason)}}}],"usage":{_json(usage)}}}'
        return f'{self._before}{delta},"logprobs":null,{end}\n\n'.encode()

    def usage_only(self, usage: JsonObject) -> bytes:
        """An event without choices."""
        return f'{self._head}"choices":[],"usage":{_json(usage)}}}\n\n'.encode()

    def _delta(self, delta: str) -> bytes:
        return f"{self._before}{delta}{_AFTER}".encode()

    def _fill(self, before: str, tokens: list[str], after: str) -> bytes:
        """Events whose deltas are each token's JSON between the two texts."""
        before, after = self._before + before, after + _AFTER
        return f"{before}{(after + before).join(map(_text_json, tokens))}{after}".encode()


def error_event(error: JsonObject) -> bytes:
    """An error in the middle of a stream."""
    return _event(error)


def broken_event() -> bytes:
    """An event that was cut, yet looks complete."""
    return b'data: {"id":"0","object":"chat.completion.chunk","choices":[{"ind\n\n'


def logprobs_of(tokens: list[str], alternatives: int) -> JsonObject:
    """Log probabilities that depend on nothing but a token's length."""
    return {
        "content": [
            {
                **_logprob(token, -len(token) / 100),
                "top_logprobs": [
                    _logprob(token if rank == 0 else f"{token}{rank}", -len(token) / 100 - rank)
                    for rank in range(alternatives)
                ],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def _logprob(token: str, logprob: float) -> JsonObject:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def whole_answer(
    model: str, answer: SimulatedAnswer, finish_reason: str, alternatives: int | None = None
) -> JsonObject:
    """The answer to a request that did not ask for a stream."""
    message: JsonObject = {"role": "assistant", "content": answer.text}
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
    logprobs = None if alternatives is None else logprobs_of(answer.tokens, alternatives)
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}
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
    """32 hex digits in place of the model's build."""
    return md5(model.encode(), usedforsecurity=False).hexdigest()


def json_bytes(value: Any) -> bytes:
    """JSON as DeepSeek writes it, in UTF-8."""
    return _json(value).encode()


@lru_cache(maxsize=16)
def _model_fields(model: str) -> str:
    return f'"model":{_text_json(model)},"system_fingerprint":"{fingerprint(model)}"'


def _event(value: JsonObject) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"
