"""A task's events as the chunks of a streamed chat completion (server-sent events).

No `id:` and no `retry:` lines: the Python SDK breaks on them. An answer that breaks off ends with
an error event, and without `[DONE]`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from aily.rest.json_input import one_line
from chat.events import TEXT_TYPES, TaskCompleted, TaskStarted, decode, groups_of
from chat.openai.chat_completions.answers import Answer, is_refusal
from chat.openai.chat_completions.body import AnswerForm
from chat.openai.errors import OpenAIError
from chat.openai.results import whole_result
from chat.openai.sent_text import SentLogprobs, SentText, TextReplacedError
from chat.openai.task_errors import error_of
from chat.services.pieces import Followed

DONE = b"data: [DONE]\n\n"


class _Text(msgspec.Struct):
    """What is read of deltas and snapshots."""

    text: str = ""
    reasoning: str = ""
    logprobs: list[msgspec.Raw] = []


_decode_text = msgspec.json.Decoder(_Text).decode


def server_sent(chunk: bytes) -> bytes:
    return b"data: " + one_line(chunk) + b"\n\n"


class ChatStream:
    """The chunks of one answer. `has_ended`: the task has, and all of its answer was taken."""

    def __init__(self, task_id: str, form: AnswerForm) -> None:
        self._task_id = task_id
        self._form = form
        self.has_ended = False
        self._model: str | None = None
        self._answer: Answer | None = None
        self._sent = SentText()
        self._logprobs = SentLogprobs()
        #: Pieces of a snapshot whose attempt is not known before the last one.
        self._held: list[Followed] = []

    async def events(self, frames: AsyncIterator[Followed]) -> AsyncGenerator[bytes]:
        """Yield the server-sent events. Raises OpenAIError where the answer ends in an error."""
        async for followed in frames:
            try:
                for chunk in self._chunks(followed):
                    yield server_sent(chunk)
            except TextReplacedError:
                message = "The answer began anew after a part of it was sent."
                raise OpenAIError(502, message, code="answer_interrupted") from None
            if followed.is_terminal:
                # An error is an answer, too. A client that is gone before the last chunk has none.
                end = decode(followed.frame)
                if not isinstance(end, TaskCompleted):
                    self.has_ended = True
                    raise error_of(end)
                async for chunk in self._end(end):
                    yield server_sent(chunk)
                self.has_ended = True
                yield DONE
                return
        raise OpenAIError(500, "The request was deleted.", code="deleted")

    def _chunks(self, followed: Followed) -> Iterator[bytes]:
        """The chunks for one frame, but those of the end."""
        if followed.event_id is None:
            if followed.type in TEXT_TYPES:
                self._held.append(followed)
            return
        self._sent.begin(followed.event_id.attempt)
        self._logprobs.begin(followed.event_id.attempt)
        for piece in (*self._held, followed):
            if piece.type in TEXT_TYPES:
                yield from self._text_chunks(piece)
        self._held.clear()
        if followed.type == "task.tool_call":
            self._sent.end_step()
        if followed.type == "task.started":
            started = decode(followed.frame)
            self._model = started.model if isinstance(started, TaskStarted) else None

    def _text_chunks(self, followed: Followed) -> Iterator[bytes]:
        piece = _decode_text(followed.frame)
        if followed.type == "task.snapshot":
            self._sent.rewind()
            self._logprobs.wait_for_end()
        logprobs = self._logprobs.unsent(piece.logprobs)
        yield from self._unsent_chunks(piece.text, piece.reasoning, logprobs)

    def _unsent_chunks(
        self, text: str, reasoning: str, logprobs: Sequence[msgspec.Raw]
    ) -> Iterator[bytes]:
        """The log probabilities come with their text, or in chunks of their own after it."""
        text, reasoning = self._sent.unsent(text, reasoning)
        first, *others = list(groups_of(logprobs)) or [()]
        if text or reasoning or first:
            yield from self._first_chunk()
            yield self._named().text_chunk(text, reasoning, first)
        for group in others:
            yield self._named().text_chunk("", "", group)

    def _first_chunk(self) -> Iterator[bytes]:
        if self._answer is None:
            yield self._named().first_chunk()

    def _named(self) -> Answer:
        """All chunks name the model of the first one."""
        if self._answer is None:
            self._answer = Answer(self._task_id, self._form, self._model)
        return self._answer

    def _rest(self, result: Mapping[str, Any]) -> Iterator[bytes]:
        """The chunks of the text that was not sent yet."""
        text, reasoning = result["text"] or "", result["reasoning"] or ""
        yield from self._first_chunk()
        if is_refusal(result) and self._sent.is_empty:
            yield self._named().refusal_chunk(text)
        else:
            self._sent.rewind()
            rest = self._logprobs.rest(result.get("logprobs") or ())
            yield from self._unsent_chunks(text, reasoning, rest)

    async def _end(self, end: TaskCompleted) -> AsyncIterator[bytes]:
        result = await whole_result(end)
        for chunk in self._rest(result):
            yield chunk
        for chunk in self._named().last_chunks(result, end.usage):
            yield chunk
