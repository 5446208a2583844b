"""What one attempt writes into its task's log: events with their ids, and text on its way there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from chat.eventlog.appends import Append, Appended, Outcome
from chat.eventlog.keys import text_channel, user_channel
from chat.eventlog.listeners import TextListeners
from chat.events import (
    Event,
    EventId,
    TaskDelta,
    TaskSnapshot,
    TaskStarted,
    cut,
    cuts_of,
    encode,
    groups_of,
    with_task_id,
)

#: Events of one log in one round trip: bounds how long the script keeps Redis busy.
MAX_APPENDS = 500
#: A running task's log outlives any call; the end sets the final expiry.
RUNNING_KEEP_SECONDS = 86_400


class Writer(Protocol):
    """What a log needs of the process's writer."""

    def schedule(self, log: TaskLog) -> None:
        """Append in the next round what this log has."""

    def schedule_start(self, log: TaskLog) -> None:
        """Append its start with what comes next, or after a short while."""

    def expedite(self, log: TaskLog) -> None:
        """Do so soon: it has ended."""


class TaskLog:
    """The log of one attempt. Ids are given out here, in order, so they are known at once."""

    def __init__(
        self, writer: Writer, task_id: str, life_channel: str, attempt: int, keep_seconds: int
    ) -> None:
        self.task_id = task_id
        self.attempt = attempt
        self.is_refused = False
        #: Called once when a newer attempt owns the log.
        self.on_refused: Callable[[], None] | None = None
        self.listeners = TextListeners()
        self._writer = writer
        self._life_channel = life_channel
        self._text_channel = text_channel(task_id)
        self._keep_seconds = keep_seconds
        self._n = 0
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._unsent_text: list[str] = []
        self._unsent_reasoning: list[str] = []
        self._logprobs: list[msgspec.Raw] = []
        #: How many of them are in deltas, or are not to be.
        self._sent_logprobs = 0
        self._cuts: list[int] = []
        self._pending: list[Append] = []
        self._is_given_up = False
        #: When text was turned into an event last (monotonic).
        self._coalesced_at = time.monotonic()

    @property
    def last_event(self) -> int:
        """n of the last event that was given an id."""
        return self._n

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def cuts(self) -> Sequence[int]:
        """The lengths of its deltas in characters, in order; those of reasoning are negative."""
        return self._cuts

    @property
    def logprobs(self) -> Sequence[msgspec.Raw]:
        """The log probabilities of the answer's tokens, as JSON."""
        return self._logprobs

    def next_id(self) -> str:
        self._n += 1
        return f"{self.attempt}-{self._n}"

    def start(self, model: str) -> None:
        event = TaskStarted(
            task_id=self.task_id, id=self.next_id(), attempt=self.attempt, model=model
        )
        self._add(event, self._life_channel, create=True, keep_seconds=RUNNING_KEEP_SECONDS)
        self._writer.schedule_start(self)

    def write(self, text: str, reasoning: str) -> None:
        """Add to the answer. It is appended in the writer's next round, or later if it may wait."""
        if text:
            self._text.append(text)
            self._unsent_text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
            self._unsent_reasoning.append(reasoning)
        if self.listeners.are_there or self.listeners.is_text_overdue(self._coalesced_at):
            self._writer.schedule(self)

    def add_logprobs(self, logprobs: Sequence[msgspec.Raw], *, is_held: bool) -> None:
        """Add those of the text that is written next. `is_held`: its text comes with the end, and
        so do they."""
        self._logprobs += logprobs
        if is_held:
            self._sent_logprobs = len(self._logprobs)

    def on_listener(self) -> None:
        """Append what there is: a follower announced that it listens from now on."""
        self.listeners.announced()
        self._writer.schedule(self)

    def flush_text(self) -> None:
        """Turn the unsent text into its last delta: `last_event` is then that of the text.

        Without listeners it is appended together with the end.
        """
        self._coalesce()
        if self.listeners.are_there:
            self._writer.schedule(self)

    def end(self, make_event: Callable[[str], Event]) -> None:
        """Append the terminal event. Only after its row is committed."""
        self._coalesce()
        self._add(make_event(self.next_id()), self._life_channel, keep_seconds=self._keep_seconds)
        self._writer.schedule(self)
        self._writer.expedite(self)

    def write_events(self, events: Iterable[Event]) -> None:
        """Append events of the task's life whose ids are the next ones, only after their rows are
        committed."""
        self._coalesce()
        for event in events:
            self.next_id()
            self._add(event, self._life_channel, keep_seconds=RUNNING_KEEP_SECONDS)
        self._writer.schedule(self)
        self._writer.expedite(self)

    def publish_to_followers(self, followers: Iterable[tuple[str, int]], event: Event) -> None:
        """Publish the end of tasks, (task id, owner id), that end with this one, after all that is
        in this log already. They have no log of their own."""
        frame, event_id = encode(event), EventId.parse(event.id)
        for task_id, owner_id in followers:
            notice = with_task_id(frame, event.task_id, task_id)
            channel = user_channel(owner_id)
            self._pending.append(
                Append(self.task_id, event_id, notice, channel, follower_id=task_id)
            )
        self._writer.schedule(self)

    def _add(
        self, event: Event, channel: str, *, create: bool = False, keep_seconds: int = 0
    ) -> None:
        event_id = EventId(self.attempt, self._n)
        self._pending.append(
            Append(self.task_id, event_id, encode(event), channel, create, keep_seconds)
        )

    def _coalesce(self) -> None:
        has_logprobs = len(self._logprobs) > self._sent_logprobs
        if not (self._unsent_text or self._unsent_reasoning or has_logprobs):
            return
        pieces = cut("".join(self._unsent_text), "".join(self._unsent_reasoning))
        self._unsent_text.clear()
        self._unsent_reasoning.clear()
        self._coalesced_at = time.monotonic()
        if not has_logprobs:
            for text, reasoning in pieces:
                self._add_delta(text, reasoning)
            return
        groups = groups_of(self._logprobs[self._sent_logprobs :])
        self._sent_logprobs = len(self._logprobs)
        for piece, logprobs in zip_longest(pieces, groups):
            text, reasoning = piece or ("", "")
            self._add_delta(text, reasoning, logprobs or UNSET)

    def _add_delta(
        self, text: str, reasoning: str, logprobs: Sequence[msgspec.Raw] | UnsetType = UNSET
    ) -> None:
        self._cuts += cuts_of(text, reasoning)
        event = TaskDelta(
            task_id=self.task_id,
            id=self.next_id(),
            text=text,
            reasoning=reasoning,
            logprobs=logprobs,
        )
        self._add(event, self._text_channel)

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    # --- Called by the writer -------------------------------------------------------------------
    def take_pending(self) -> list[Append]:
        """Return a copy, as more may be added while these are under way; no more than one round
        takes."""
        self._coalesce()
        if self._is_given_up:
            self._pending.clear()
        return self._pending[:MAX_APPENDS]

    def note_appended(self, appended: Sequence[Appended]) -> None:
        """Note what became of the first pending events."""
        outcomes = [outcome for outcome, _ in appended]
        if Outcome.REFUSED in outcomes:
            self._refuse()
        elif Outcome.MISSING in outcomes:
            self._begin_anew(outcomes.index(Outcome.MISSING))
        elif appended:
            self.listeners.counted(appended[-1].has_listeners)
            del self._pending[: len(outcomes)]

    def give_up(self) -> None:
        """Append nothing more: Redis does not take it. Followers read the end from the row."""
        self._is_given_up = True
        self._pending.clear()

    def _refuse(self) -> None:
        self._pending.clear()
        if not self.is_refused:
            self.is_refused = True
            if self.on_refused is not None:
                self.on_refused()

    def _begin_anew(self, first_missing: int) -> None:
        """Have a snapshot of the whole text create the log again that Redis lost.

        It takes the place of the first delta that Redis lacks. Later deltas are in it already; they
        stay as empty ones, so that ids keep following each other. Where only the end is lacking, it
        takes the place before that, which followers that had seen it there do not read again.
        """
        del self._pending[:first_missing]
        place = self._pending[0].event_id
        if self._pending[0].channel == self._text_channel:
            del self._pending[0]
        else:
            place = EventId(place.attempt, place.n - 1)
        snapshot = Append(
            self.task_id,
            place,
            encode(self._snapshot(place)),
            self._text_channel,
            create=True,
            keep_seconds=RUNNING_KEEP_SECONDS,
        )
        self._pending = [snapshot, *map(self._without_text, self._pending)]

    def _snapshot(self, place: EventId) -> TaskSnapshot:
        return TaskSnapshot(
            task_id=self.task_id,
            id=str(place),
            text=self.text.removesuffix("".join(self._unsent_text)),
            reasoning=self.reasoning.removesuffix("".join(self._unsent_reasoning)),
        )

    def _without_text(self, append: Append) -> Append:
        if append.channel != self._text_channel:
            return append
        event = TaskDelta(task_id=self.task_id, id=str(append.event_id), text="", reasoning="")
        return msgspec.structs.replace(append, frame=encode(event))
