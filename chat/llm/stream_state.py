"""State of one streamed answer: what has come of it, in parts that say what they are."""

from __future__ import annotations

from chat.llm import lenient
from chat.llm.answer_counts import AnswerCounts
from chat.llm.answer_end import AnswerEnd
from chat.llm.answer_names import AnswerNames
from chat.llm.answer_pieces import AnswerPieces
from chat.llm.errors import TruncatedError
from chat.llm.event_errors import check_chunk, check_field, error_of_event
from chat.llm.finish_reasons import MAY_BE_EMPTY, failure, plain
from chat.llm.foreign_forms import ForeignForm
from chat.llm.logprobs import read_logprobs
from chat.llm.other_content import OtherContent
from chat.llm.sse import Event
from chat.llm.tool_calls import ToolCalls, is_own_call
from chat.llm.types import AnswerLimits, Completion, Delta
from chat.llm.vendor_errors import error_from_event, find_error
from chat.llm.whole_messages import WholeMessages
from chat.llm.wire import (
    MISSING,
    Anything,
    WireChoice,
    WireChunk,
    WireMessage,
    WireStreamChunk,
    WireToolCall,
    decode_chunk,
    decode_stream_chunk,
    has_value,
)

_DEFAULT_LIMITS = AnswerLimits()
_END_MARKS = (b"[DONE]", b'"[DONE]"', b"[done]", b"DONE", b"done")
#: Signs of life, without the quotes and brackets around them.
_PING = frozenset({b"", b"null", b"ping", b"heartbeat", b"keep-alive", b"keepalive"})
_AROUND_PING = b'"[]: '
_LONGEST_PING = 16


class StreamState:
    """One answer while it arrives. `payloads` counts the pieces that carry content."""

    def __init__(
        self,
        model: str,
        secret: str | None,
        limits: AnswerLimits | None = None,
        *,
        wants_logprobs: bool = False,
    ) -> None:
        self.payloads = 0
        #: The end mark has come, or what comes after is of no use.
        self.done = False
        #: Text or reasoning passed its limit: the answer ends there.
        self.is_cut = False
        #: The response had an end of its own, not just that of the connection.
        self.is_framed = False
        #: Came in pieces, not as one message.
        self.has_deltas = False
        #: The API key: removed from errors, in which a provider may repeat it.
        self.secret = secret
        self.limits = limits or _DEFAULT_LIMITS
        #: Log probabilities were asked for: every event is decoded whole.
        self.wants_logprobs = wants_logprobs
        self.names = AnswerNames(model)
        self.counts = AnswerCounts()
        self._pieces = AnswerPieces(self.limits)
        #: While it is open, each event is for `add_json`.
        self.opening = self._pieces.opening
        self._tool_calls = ToolCalls(self.limits)
        self._end = AnswerEnd()
        #: We ask for one answer: the first index is its. Some servers count from 1.
        self._choice_index: int | None = None
        self._is_refusal = False
        self._messages = WholeMessages()
        self._foreign = ForeignForm()
        self._others = OtherContent()

    @property
    def finish_reason(self) -> str | None:
        return self._end.reason

    @property
    def is_finished(self) -> bool:
        """Whether the finish reason is known to be the answer's end: nothing more is needed."""
        return self._end.is_certain(has_answer=self._has_answer)

    @property
    def _has_answer(self) -> bool:
        return self._pieces.has_text or bool(self._tool_calls)

    def name_request(self, request_id: str | None) -> None:
        """Note the response header to quote to the provider's support."""
        self.names.name_request(request_id)

    def add_events(self, events: list[Event]) -> None:
        """Take events. Raises ProviderError when one is an error or no JSON."""
        for event in events:
            if self.done:
                self._add_late(event.data)
                continue
            # Twice `data:`: a server has wrapped the events of another.
            data = event.data.strip().removeprefix(b"data:").lstrip()
            if event.is_error:
                raise error_of_event(data, self.secret)
            if data.startswith(_END_MARKS):
                self.done = True
            elif len(data) > _LONGEST_PING or data.strip(_AROUND_PING).lower() not in _PING:
                self.add_json(data)

    def _add_late(self, data: bytes) -> None:
        """Take the token counts of an event after the end mark, and nothing else of it."""
        chunk = decode_chunk(data)
        if chunk is not None and chunk.usage is not None:
            self.counts.add(chunk.usage)

    def add_json(self, data: bytes) -> None:
        """Take one event, or a whole response. Raises as `add_events`."""
        if not self.names.is_known:
            self.search(data)
        chunk = decode_chunk(data)
        if chunk is None or (not chunk.choices and (chunk.is_blank or not self.payloads)):
            chunk = self._read_odd(data)
        else:
            self.counts.complete(chunk, data)
        self._add_chunk(chunk)

    def add_stream_event(self, data: bytes) -> None:
        """Take one event of a stream: `add_json`, at half its cost for text, as most events are.
        Raises as `add_events`."""
        is_usual = self.names.is_known and not self.counts.are_native
        if is_usual and not self.opening.is_open:
            chunk = decode_stream_chunk(data)
            if chunk is not None and self.add_stream_chunks([chunk], 0):
                return
        self.add_json(data)

    def _read_odd(self, data: bytes) -> WireChunk:
        parsed = lenient.parse(data)
        problem = find_error(parsed)
        if problem is not None:
            raise error_from_event(problem, self.secret)
        if not self.names.is_known:
            self.names.take(lenient.read_name(parsed))
        if not self.payloads:
            self._foreign.note(parsed, data)
        return lenient.read_chunk(parsed)

    def search(self, data: bytes) -> None:
        """Note the names that a first event has, and whether it has counts beside `usage`."""
        self.names.search(data)
        self.counts.search(data)

    def add_stream_chunks(self, chunks: list[WireStreamChunk], start: int) -> int:
        """Take events from `start` on, up to one that has something else than text, reasoning or
        tool calls, and returns it for `add_json`. Not for the first texts: see `opening`.

        The loop that each token goes through.
        """
        position, pieces = start, self._pieces
        for position in range(start, len(chunks)):
            chunk = chunks[position]
            choices = chunk.choices
            if not choices or len(choices) != 1 or chunk.error is not MISSING:
                break
            choice = choices[0]
            delta = choice.delta
            if delta is None or choice.finish_reason or choice.index or choice.error is not MISSING:
                break
            if chunk.usage is not None and not self.counts.add(chunk.usage):
                break
            reasoning = delta.reasoning_content or delta.reasoning
            if delta.content:
                pieces.text.append(delta.content)
            elif not (reasoning or delta.tool_calls):
                break
            if reasoning:
                pieces.reasoning.append(reasoning)
            if delta.tool_calls:
                self._add_tool_calls(delta.tool_calls, is_whole=False)
        else:
            position = len(chunks)
        if position > start:
            self.payloads += position - start
            self.has_deltas = True
            self._choice_index = 0
            self._end.went_on = self._end.reason is not None
            pieces.sort()
        return position

    def _add_chunk(self, chunk: WireChunk) -> None:
        if chunk.error or chunk.base_resp:
            check_chunk(chunk, self.secret)
        self.counts.add_chunk(chunk)
        if chunk.x_groq is not None and chunk.x_groq.error:
            check_field(chunk.x_groq.error, self.secret)
        for choice in chunk.choices or ():
            if not self.payloads:
                # Some send the role with another index than the text.
                self._choice_index = choice.index
            if choice.index == self._choice_index:
                self._add_choice(choice)
            elif choice.finish_reason:
                self._end.other_ended = True

    def take_delta(self, *, is_last: bool = False) -> Delta | None:
        """Return what came since the last call, or None. A lone surrogate waits for its other half
        unless `is_last`."""
        pieces = self._pieces
        delta = pieces.take(is_last=is_last or self.done)
        if pieces.is_cut:
            self.is_cut = self.done = True
        return delta

    def completion(self) -> Completion:
        """The end of the answer. Raises ProviderError when what came is not a whole answer."""
        if self.is_cut:
            return self._completed("length", with_tool_calls=False)
        if not self.payloads and (problem := self._foreign.error(self.secret)) is not None:
            raise problem
        if not self._end.is_proven(
            is_done=self.done, is_framed=self.is_framed, has_answer=self._has_answer
        ):
            raise TruncatedError("the stream ended before the answer did")
        reason = self._end.reason or ("tool_calls" if self._tool_calls else "stop")
        if (failed := failure(reason)) is not None:
            raise failed(f"the provider gave up: {reason}")
        if not self._has_answer and plain(reason) not in MAY_BE_EMPTY:
            raise self._others.error(reason)
        if plain(reason) == "tool_calls" and not self._tool_calls:
            reason = "stop"
        return self._completed(reason, with_tool_calls=True)

    def _completed(self, reason: str, *, with_tool_calls: bool) -> Completion:
        return Completion(
            finish_reason=reason,
            usage=self.counts.usage,
            model=self.names.model,
            upstream_id=self.names.upstream_id,
            request_id=self.names.request_id,
            tool_calls=self._tool_calls.whole() if with_tool_calls else (),
            is_refusal=self._is_refusal,
        )

    # --- The parts of an event ------------------------------------------------------------------
    def _add_choice(self, choice: WireChoice) -> None:
        if choice.error:
            check_field(choice.error, self.secret)
        payloads = self.payloads
        if choice.delta is not None:
            self._add_message(choice.delta, is_whole=False)
            self.has_deltas = self.has_deltas or self.payloads > payloads
        elif choice.message is not None and not self.has_deltas:
            # Beside deltas it only repeats them.
            self._messages.leave_new(choice.message)
            self._add_message(choice.message, is_whole=True)
        elif choice.text:
            self._add_text(choice.text)
        if choice.usage is not None:
            self.counts.add(choice.usage)
        if self.wants_logprobs and has_value(choice.logprobs):
            self._add_logprobs(choice.logprobs)
        has_payload = self.payloads > payloads
        if has_payload and self._end.reason is not None:
            self._end.went_on = True
        reason = choice.finish_reason
        if reason and self._end.take(reason, self.payloads, is_alone=not has_payload):
            self._pieces.end_opening()
            self.payloads += 1

    def _add_message(self, message: WireMessage, *, is_whole: bool) -> None:
        reasoning = (
            message.reasoning_content or message.reasoning or lenient.other_reasoning(message)
        )
        if reasoning:
            self._pieces.add_reasoning(reasoning)
            self.payloads += 1
        if message.content:
            self._add_text(message.content, is_delta=not is_whole)
        if message.refusal:
            if message.refusal != message.content:  # some say it in both
                self._add_text(message.refusal)
            self._is_refusal = True
        if OtherContent.is_in(message):
            self.payloads += 1
            if words := self._others.take(message):
                self._add_text(words)
        if reasoning or message.tool_calls:
            self._pieces.close_opening()
        calls = message.tool_calls
        if not calls and message.function_call is not None:
            calls = [WireToolCall(function=message.function_call)]
        if calls:
            self.payloads += 1
            self._add_tool_calls(calls, is_whole=is_whole)

    def _add_tool_calls(self, calls: list[WireToolCall], *, is_whole: bool) -> None:
        if is_whole and self._tool_calls.are_repeated_by(calls):
            self._tool_calls = ToolCalls(self.limits)
        for position, call in enumerate(calls):
            self._tool_calls.add(call, is_whole=is_whole or is_own_call(position, call))

    def _add_text(self, text: str, *, is_delta: bool = False) -> None:
        if is_delta:
            self._pieces.add_delta(text)
        else:
            self._pieces.add_text(text)
        self.payloads += 1

    def _add_logprobs(self, field: Anything) -> None:
        self._pieces.add_logprobs(read_logprobs(field))
        if self._pieces.is_cut:
            self.is_cut = self.done = True
