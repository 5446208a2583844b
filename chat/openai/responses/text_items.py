"""Items that a model writes, and their events: texts, reasoning, refusals, function calls. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chat.events import PIECE_CHARS
from chat.openai.responses.call_items import Emitted
from chat.openai.responses.objects import (
    ItemStatus,
    JsonObject,
    function_call_item,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
)

TextKind = Literal["message", "reasoning", "refusal"]

_EVENT_NAMES = {"reasoning": "reasoning_text", "refusal": "refusal"}


@dataclass(slots=True)
class TextItem:
    """A text that is being written, at its place in the output."""

    kind: TextKind
    id: str
    index: int
    chunks: list[str] = field(default_factory=list)
    #: The log probabilities of its tokens, known once it ends.
    logprobs: Sequence[object] = ()

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    @property
    def place(self) -> JsonObject:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    def part(self, text: str) -> JsonObject:
        if self.kind == "refusal":
            return refusal_part(text)
        return text_part(text, self.logprobs)

    def item(self, status: ItemStatus, text: str | None) -> JsonObject:
        """The item in OpenAI's form; `text` is None while it is being written."""
        if self.kind == "reasoning":
            return reasoning_item(self.id, status, text)
        return message_item(self.id, status, None if text is None else self.part(text))


# --- Events -------------------------------------------------------------------------------------
def text_begun_events(item: TextItem) -> Iterator[Emitted]:
    """The events of an item that begins, before its first text."""
    added = {"output_index": item.index, "item": item.item("in_progress", None)}
    yield "response.output_item.added", added
    if item.kind != "reasoning":
        yield "response.content_part.added", {**item.place, "part": item.part("")}


def text_delta_event(item: TextItem, text: str) -> Emitted:
    fields = {**item.place, "delta": text}
    if item.kind == "message":
        # They come with the end: rows do not keep which delta had which.
        return "response.output_text.delta", {**fields, "logprobs": []}
    return f"response.{_EVENT_NAMES[item.kind]}.delta", fields


def text_ended_events(item: TextItem) -> Iterator[Emitted]:
    """The events of an item that ends, without the last one of its item."""
    text = item.text
    match item.kind:
        case "message":
            done = {**item.place, "text": text, "logprobs": list(item.logprobs)}
            yield "response.output_text.done", done
        case "refusal":
            yield "response.refusal.done", {**item.place, "refusal": text}
        case "reasoning":
            yield "response.reasoning_text.done", {**item.place, "text": text}
    if item.kind != "reasoning":
        yield "response.content_part.done", {**item.place, "part": item.part(text)}


def function_call_events(call: Mapping[str, Any], name: str, index: int) -> Iterator[Emitted]:
    """The events of a function call, whose item has the id `name`, without the last one of it."""
    begun = function_call_item(name, "in_progress", {**call, "arguments": ""})
    yield "response.output_item.added", {"output_index": index, "item": begun}
    place = {"item_id": name, "output_index": index}
    arguments = str(call["arguments"])
    for start in range(0, len(arguments), PIECE_CHARS):
        piece = {**place, "delta": arguments[start : start + PIECE_CHARS]}
        yield "response.function_call_arguments.delta", piece
    whole = {**place, "name": call["name"], "arguments": arguments}
    yield "response.function_call_arguments.done", whole
