"""The events of a response, as a pure function of what happened to its task.

They are numbered from 0 without gaps, alike for every reader and for ever, as the cuts between
deltas are kept (chat/models/responses.py). Where something of it was lost, as Redis lost its data,
the numbers jump above all that were given out before, and none is used twice. A client that comes
with a number from before such a jump is not sent again what it may have seen: it gets the items
whole, at their end.

An attempt that ends without ending its task leaves its text as an item with the status incomplete,
and the next attempt begins a new item. Text of two attempts never is in one item.

A task whose tool calls wait for its user ends the stream as a response that is complete for now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from chat.events import PIECE_CHARS
from chat.openai.responses.call_items import (
    ASKED,
    LIST_PREFIX,
    REJECTED,
    CallOfTool,
    Emitted,
    ResponseCalls,
    approval_item,
    begun_events,
    call_item,
    ended_events,
    list_item,
    listing_events,
    status_of,
)
from chat.openai.responses.objects import (
    Ending,
    ItemStatus,
    JsonObject,
    ResponseEvent,
    ResponseFacts,
    ResponseStatus,
    function_call_item,
    item_id,
    response_object,
)
from chat.openai.responses.text_items import (
    TextItem,
    TextKind,
    function_call_events,
    text_begun_events,
    text_delta_event,
    text_ended_events,
)

#: The first number after events were lost, and the first one where only the row is left.
AFTER_LOSS: Final = 1_000_000_000
FROM_ROW: Final = 2_000_000_000
#: Before the first event.
BEFORE_ALL: Final = -1


@dataclass(slots=True)
class EventMachine:
    """Makes the events of one response. Its methods are called in the order of what happened.

    `after`: the last number that the client has seen. Events up to it are made, and not returned.
    """

    facts: ResponseFacts
    after: int = BEFORE_ALL
    #: The items that have ended.
    output: list[JsonObject] = field(default_factory=list)
    _number: int = BEFORE_ALL
    _attempt: int = 0
    _items_of_attempt: int = 0
    _open: TextItem | None = None
    #: Characters of the attempt, by kind: sent, and known of.
    _sent: dict[TextKind, int] = field(default_factory=dict)
    _known: dict[TextKind, int] = field(default_factory=dict)
    _is_in_progress: bool = False
    _calls: ResponseCalls = field(default_factory=ResponseCalls)
    _is_listed: bool = False
    #: The number of the event that ends a stream here; None: its task waits for nobody.
    _pause: int | None = None
    #: The client may have received a part whose length is not known any more.
    _only_whole_items: bool = False

    # --- What happened --------------------------------------------------------------------------
    def created(self) -> Iterator[ResponseEvent]:
        status: ResponseStatus = "queued" if self.facts.is_background else "in_progress"
        yield from self._lifecycle("response.created", status)
        if self.facts.is_background:
            yield from self._lifecycle("response.queued", "queued")

    def in_progress(self) -> Iterator[ResponseEvent]:
        if not self._is_in_progress:
            self._is_in_progress = True
            yield from self._lifecycle("response.in_progress", "in_progress")
            yield from self._tools_listed()

    def started(self, attempt: int) -> Iterator[ResponseEvent]:
        yield from self.in_progress()
        if attempt <= self._attempt:
            return
        if attempt != self._attempt + 1:
            yield from self.gap(attempt)
        else:
            yield from self._close("incomplete")
            self._begin_attempt(attempt)

    def delta(self, text: str, reasoning: str) -> Iterator[ResponseEvent]:
        yield from self.in_progress()
        yield from self._write("reasoning", reasoning)
        yield from self._write("message", text)

    def snapshot(self, attempt: int, text: str, reasoning: str) -> Iterator[ResponseEvent]:
        """The text so far, in place of events that were lost. What was sent is not sent again."""
        yield from self.gap(attempt)
        self._known.clear()
        yield from self._write("reasoning", reasoning)
        yield from self._write("message", text)

    def ended(
        self,
        ending: Ending,
        *,
        text: str | None = None,
        reasoning: str | None = None,
        tool_calls: Sequence[Mapping[str, Any]] = (),
        calls: Sequence[CallOfTool] = (),
        is_refusal: bool = False,
        logprobs: Sequence[object] = (),
    ) -> Iterator[ResponseEvent]:
        """`text` and `reasoning` are whole, or None where what was written is all.

        `calls`: all tool calls that aily has made, where some of their events may be missing.
        `is_refusal`: the text says why there is no answer. It comes with the end.
        `logprobs`: the log probabilities of the text's tokens.
        """
        yield from self.in_progress()
        yield from self.missed_calls(calls)
        yield from self._rest("reasoning", reasoning)
        has_text = bool(self._sent.get("message"))
        yield from self._rest("refusal" if is_refusal and not has_text else "message", text)
        if self._open is not None and self._open.kind == "message":
            self._open.logprobs = logprobs
        is_whole = ending.status == "completed"
        yield from self._close("completed" if is_whole else "incomplete")
        for call in tool_calls:
            yield from self._function_call(call)
        for open_call in list(self._calls.open.values()):
            yield from self._end_call(open_call, "incomplete")
        last = {"completed": "response.completed", "failed": "response.failed"}
        name = last.get(ending.status, "response.incomplete")
        response = response_object(self.facts, ending.status, self.output, ending)
        end = self._event(name, {"response": response})
        if end.number < AFTER_LOSS <= self.after:
            # The client's number is one that was given out while events were lost.
            yield from self._whole_items_after(self.after)
            yield self._event(end.type, end.fields)
        elif end.number > self.after:
            yield end

    def answered_by(self, attempt: int) -> None:
        """What follows is the text of this attempt alone, of which no client got any before."""
        self._begin_attempt(attempt)

    def gap(self, attempt: int) -> Iterator[ResponseEvent]:
        """Events are missing here, before one of this attempt."""
        yield from self.in_progress()
        if attempt != self._attempt:
            yield from self._close("incomplete")
            self._begin_attempt(attempt)
        self._jump(AFTER_LOSS)

    def lost(self) -> Iterator[ResponseEvent]:
        """The events are lost: what follows is cut in another way than it was sent before."""
        yield from self.in_progress()
        self._jump(FROM_ROW)

    @property
    def has_lost_events(self) -> bool:
        return self._number >= AFTER_LOSS

    # --- Tool calls -----------------------------------------------------------------------------
    def tool_call(self, call: CallOfTool) -> Iterator[ResponseEvent]:
        """Announce a call that is about to be made. One that waits for its user is announced again
        when the user has approved it."""
        yield from self.in_progress()
        yield from self._close("completed")
        if call.state == ASKED:
            self._calls.unasked.add(call.call_id)
        elif call.call_id not in self._calls.begun:
            yield from self._begin_call(call)

    def requires_action(self, call: CallOfTool) -> Iterator[ResponseEvent]:
        """A call waits for its user."""
        yield from self.in_progress()
        yield from self._close("completed")
        self._calls.unasked.discard(call.call_id)
        if call.call_id in self._calls.asked:
            return
        self._calls.asked.add(call.call_id)
        self._calls.waiting.add(call.call_id)
        item = approval_item(call)
        place = {"output_index": len(self.output), "item": item}
        yield from self._emit("response.output_item.added", place)
        yield from self._item_done(item)
        self._note_pause()

    def tool_result(self, call: CallOfTool) -> Iterator[ResponseEvent]:
        """A call has ended. There is no item of one that was rejected."""
        self._calls.waiting.discard(call.call_id)
        begun = self._calls.open.get(call.call_id)
        if begun is not None:
            ended = msgspec.structs.replace(
                begun, state=call.state, text=call.text, is_error=call.is_error
            )
            yield from self._end_call(ended, status_of(ended))
        self._note_pause()

    def missed_calls(self, calls: Sequence[CallOfTool]) -> Iterator[ResponseEvent]:
        """The rest of these calls, by their rows."""
        for call in calls:
            if call.state in (ASKED, REJECTED):
                continue
            if call.call_id not in self._calls.begun:
                yield from self._begin_call(call)
            if call.has_ended:
                yield from self.tool_result(call)

    @property
    def is_waiting(self) -> bool:
        """Nothing more comes before the user has decided on a call."""
        return self._pause is not None

    def _note_pause(self) -> None:
        """Keep a number for the event that ends a stream here: readers who come later are sent no
        such event, and the same numbers otherwise."""
        if self._calls.is_waiting and self._pause is None:
            self._number += 1
            self._pause = self._number

    def paused(self, ending: Ending) -> Iterator[ResponseEvent]:
        """The last event of a stream whose task waits for its user."""
        if self._pause is not None and self._pause > self.after:
            response = response_object(self.facts, "completed", self.output, ending)
            yield ResponseEvent("response.completed", self._pause, {"response": response})

    def resume(self, attempt: int, asked: Iterable[CallOfTool]) -> Iterator[ResponseEvent]:
        """Begin the output of a response that goes on after decisions of its user: what came before
        was sent already. `asked` are the calls of the step whose user was asked."""
        self._is_listed = True
        self._begin_attempt(attempt)
        yield from self.in_progress()
        for call in asked:
            if call.state == ASKED:
                yield from self.requires_action(call)
            self._calls.asked.add(call.call_id)

    def _tools_listed(self) -> Iterator[ResponseEvent]:
        if self._is_listed:
            return
        self._is_listed = True
        for number, (server, tools) in enumerate(self.facts.listed_tools.items()):
            name = f"{LIST_PREFIX}{self.facts.task_id.hex}{number:02x}"
            item = list_item(name, server, tools)
            yield from self._emit_all(listing_events(item, len(self.output)))
            yield from self._item_done(item)

    def _begin_call(self, call: CallOfTool) -> Iterator[ResponseEvent]:
        self._calls.waiting.discard(call.call_id)
        self._pause = None
        index = self._calls.begun[call.call_id] = len(self.output)
        self._calls.open[call.call_id] = call
        item = self._call_item(call, "in_progress")
        # In its place already: calls of a step run at once, and end in any order.
        self.output.append(item)
        yield from self._emit_all(begun_events(item, index))

    def _end_call(self, call: CallOfTool, status: str) -> Iterator[ResponseEvent]:
        del self._calls.open[call.call_id]
        index, item = self._calls.begun[call.call_id], self._call_item(call, status)
        yield from self._emit_all(ended_events(item, index))
        self.output[index] = item
        yield from self._done(item, index)

    def _call_item(self, call: CallOfTool, status: str) -> JsonObject:
        return call_item(call, status, is_approved=call.call_id in self._calls.asked)

    # --- Text -----------------------------------------------------------------------------------
    def _begin_attempt(self, attempt: int) -> None:
        self._attempt = attempt
        self._items_of_attempt = 0
        self._sent.clear()
        self._known.clear()

    def _write(self, kind: TextKind, text: str) -> Iterator[ResponseEvent]:
        if not text:
            return
        known = self._known.get(kind, 0) + len(text)
        self._known[kind] = known
        # After a snapshot in pieces, some of them were sent before.
        unsent = known - self._sent.get(kind, 0)
        if unsent <= 0:
            return
        text = text[-unsent:]
        self._sent[kind] = known
        if self._open is None or self._open.kind != kind:
            yield from self._close("completed")
            yield from self._begin_item(kind)
        yield from self._text_delta(text)

    def _rest(self, kind: TextKind, whole: str | None) -> Iterator[ResponseEvent]:
        """What the end has of a text, and no event before."""
        rest = (whole or "")[self._sent.get(kind, 0) :]
        self._known[kind] = self._sent.get(kind, 0)
        for start in range(0, len(rest), PIECE_CHARS):
            yield from self._write(kind, rest[start : start + PIECE_CHARS])

    # --- Items ----------------------------------------------------------------------------------
    def _new_id(self, kind: str) -> str:
        self._items_of_attempt += 1
        return item_id(kind, self.facts.task_id, self._attempt, self._items_of_attempt)

    def _begin_item(self, kind: TextKind) -> Iterator[ResponseEvent]:
        begun = self._open = TextItem(kind, self._new_id(kind), len(self.output))
        yield from self._emit_all(text_begun_events(begun))

    def _text_delta(self, text: str) -> Iterator[ResponseEvent]:
        assert self._open is not None  # noqa: S101 - `_write` has begun it
        self._open.chunks.append(text)
        yield from self._emit(*text_delta_event(self._open, text))

    def _close(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        ended, self._open = self._open, None
        if ended is not None:
            yield from self._emit_all(text_ended_events(ended))
            yield from self._item_done(ended.item(status, ended.text))

    def _function_call(self, call: Mapping[str, Any]) -> Iterator[ResponseEvent]:
        name = self._new_id("function_call")
        yield from self._emit_all(function_call_events(call, name, len(self.output)))
        yield from self._item_done(function_call_item(name, "completed", call))

    def _item_done(self, item: JsonObject) -> Iterator[ResponseEvent]:
        self.output.append(item)
        yield from self._done(item, len(self.output) - 1)

    def _done(self, item: JsonObject, index: int) -> Iterator[ResponseEvent]:
        fields = {"output_index": index, "item": item}
        event = self._event("response.output_item.done", fields)
        if event.number > self.after or self._only_whole_items:
            yield event

    def _whole_items_after(self, number: int) -> Iterator[ResponseEvent]:
        self._number = number
        for index, item in enumerate(self.output):
            fields = {"output_index": index, "item": item}
            yield self._event("response.output_item.done", fields)

    # --- Events ---------------------------------------------------------------------------------
    def _lifecycle(self, name: str, status: ResponseStatus) -> Iterator[ResponseEvent]:
        yield from self._emit(name, {"response": response_object(self.facts, status)})

    def _jump(self, base: int) -> None:
        """Go on above all numbers that were given out before."""
        if self._number < base - 1:
            self._only_whole_items = self._number < self.after < base
            self._number = base - 1

    def _event(self, name: str, fields: JsonObject) -> ResponseEvent:
        self._number += 1
        return ResponseEvent(name, self._number, fields)

    def _emit(self, name: str, fields: JsonObject) -> Iterator[ResponseEvent]:
        event = self._event(name, fields)
        if event.number > self.after and not self._only_whole_items:
            yield event

    def _emit_all(self, emitted: Iterable[Emitted]) -> Iterator[ResponseEvent]:
        for name, fields in emitted:
            yield from self._emit(name, fields)
