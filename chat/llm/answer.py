"""Puts the decoded pieces of one answer together and judges how it ended."""

from __future__ import annotations

from chat.llm.errors import (
    EmptyAnswerError,
    OverloadedError,
    ProviderError,
    TruncatedError,
    error_from_event,
)
from chat.llm.types import Completion, Delta, ToolCall, Usage, storable
from chat.llm.wire import (
    WireChunk,
    WireMessage,
    WireToolCall,
    WireUsage,
    decode_chunk,
    decode_name,
)

MAX_ID_CHARS = 200

# The provider gave up although it sent no error.
_BROKEN_OFF: dict[str, type[ProviderError]] = {
    "insufficient_system_resource": OverloadedError,
    "aborted": ProviderError,
    "error": ProviderError,
}
# These may end an answer before it has a first character; anything else owes us one.
_MAY_BE_EMPTY = frozenset({"length", "content_filter"})


class _ToolCallParts:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """One answer as it arrives. `payloads` counts the pieces that were more than a keep-alive."""

    def __init__(self, model: str, secret: str | None) -> None:
        self.payloads = 0
        self.finish_reason: str | None = None
        self.done = False
        #: The key that the provider may repeat in an error, and nobody is to read.
        self.secret = secret
        self._model = model
        self._request_id: str | None = None
        self.is_named = False
        self._upstream_id: str | None = None
        self._usage = Usage()
        self._has_text = False
        self._tool_calls: dict[int, _ToolCallParts] = {}
        self._text: list[str] = []
        self._reasoning: list[str] = []

    def name_request(self, request_id: str | None) -> None:
        """Note the response header to quote to the provider's support."""
        self._request_id = storable(request_id)[:MAX_ID_CHARS] if request_id else None

    def add_events(self, events: list[bytes]) -> None:
        """Take the data of events. Raises ProviderError when one is an error or no JSON."""
        for data in events:
            if self.done:
                return
            if data.startswith(b"[DONE]"):
                self.done = True
            elif data and not data.isspace():
                self.add_json(data)

    def add_json(self, data: bytes) -> None:
        """Take one event, or a whole response. Raises as `add_events`."""
        if not self.is_named:
            self.name(data)
        self.add_chunks([decode_chunk(data)])

    def name(self, data: bytes) -> None:
        """Note the answer's id, and the model that gives it, if the event has them."""
        name = decode_name(data)
        if name.id:
            self.is_named = True
            self._upstream_id = storable(name.id)[:MAX_ID_CHARS]
            self._model = storable(name.model or self._model)[:MAX_ID_CHARS]

    def add_chunks(self, chunks: list[WireChunk]) -> None:
        """Take decoded events, or a whole response. Raises ProviderError when one is an error."""
        for chunk in chunks:
            if chunk.error is not None:
                raise error_from_event(chunk.error, self.secret)
            if chunk.usage is not None:
                self._usage = _usage(chunk.usage)
            for choice in chunk.choices or ():
                if choice.index:  # we ask for one answer only
                    continue
                message = choice.delta or choice.message
                if message is not None:
                    self._add_message(message)
                if choice.finish_reason:
                    self.finish_reason = storable(choice.finish_reason)[:MAX_ID_CHARS]
                    self.payloads += 1

    def take_delta(self) -> Delta | None:
        """What came since the last call, or None."""
        if not self._text and not self._reasoning:
            return None
        delta = Delta(storable("".join(self._text)), storable("".join(self._reasoning)))
        self._text.clear()
        self._reasoning.clear()
        return delta

    def completion(self) -> Completion:
        """The end of the answer. Raises ProviderError when what came is not a whole answer."""
        if self.finish_reason is None and not self.done:
            raise TruncatedError("the stream ended before the answer did")
        reason = self.finish_reason or ("tool_calls" if self._tool_calls else "stop")
        if reason in _BROKEN_OFF:
            raise _BROKEN_OFF[reason](f"the provider gave up: {reason}")
        if not self._has_text and not self._tool_calls and reason not in _MAY_BE_EMPTY:
            raise EmptyAnswerError(f"the answer ({reason}) has neither text nor a tool call")
        return Completion(
            finish_reason=reason,
            usage=self._usage,
            model=self._model,
            upstream_id=self._upstream_id,
            request_id=self._request_id,
            tool_calls=tuple(
                ToolCall(storable(c.id), storable(c.name), storable("".join(c.arguments)))
                for _, c in sorted(self._tool_calls.items())
            ),
        )

    def _add_message(self, message: WireMessage) -> None:
        if message.content:
            self._text.append(message.content)
            self._has_text = True
            self.payloads += 1
        if message.reasoning_content:
            self._reasoning.append(message.reasoning_content)
            self.payloads += 1
        if message.tool_calls:
            for position, call in enumerate(message.tool_calls):
                self._add_tool_call(position, call)

    def _add_tool_call(self, position: int, call: WireToolCall) -> None:
        index = position if call.index is None else call.index
        parts = self._tool_calls.setdefault(index, _ToolCallParts())
        self.payloads += 1
        parts.id = parts.id or call.id or ""
        if call.function is not None:
            parts.name = parts.name or call.function.name or ""
            if call.function.arguments:
                parts.arguments.append(call.function.arguments)


def _usage(wire: WireUsage) -> Usage:
    prompt, completion = wire.prompt_tokens or 0, wire.completion_tokens or 0
    prompt_details, completion_details = wire.prompt_tokens_details, wire.completion_tokens_details
    cached = (prompt_details.cached_tokens if prompt_details else None) or 0
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=wire.total_tokens or prompt + completion,
        cached_tokens=cached or wire.prompt_cache_hit_tokens or 0,
        reasoning_tokens=(completion_details.reasoning_tokens if completion_details else 0) or 0,
    )
