"""The vocabulary of a task's events: what the log stores and what every follower is sent.

Pure data: no Django, no Redis. An event's id is `<attempt>-<n>`, n counting from 1 without gaps
within an attempt; a terminal event of a task that never ran has attempt 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

PROTOCOL = "aily.v1"
#: Ends and snapshots up to this size are one frame. Larger ones come in pieces: many WebSocket
#: clients refuse frames of more than a MiB.
FRAME_BYTES = 262_144
#: Characters of a piece, and of a delta: mostly below the 64 KiB that many readers of SSE take as
#: a line, and never above 128 KiB, as JSON writes a character in at most 6 bytes.
PIECE_CHARS = 20_000


class EventId(NamedTuple):
    """Position in a task's event log; ordered as Redis orders its stream ids."""

    attempt: int
    n: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.n}"

    @classmethod
    def parse(cls, value: str) -> EventId:
        """Parse `"2-17"`. Raises ValueError for anything else."""
        attempt, separator, n = value.partition("-")
        if not (separator and attempt.isascii() and n.isascii()):
            raise ValueError(f"not an event id: {value!r}")
        if not (attempt.isdigit() and n.isdigit() and len(attempt) <= 9 and len(n) <= 9):
            raise ValueError(f"not an event id: {value!r}")
        return cls(int(attempt), int(n))

    def follows(self, other: EventId) -> bool:
        """True when no event can lie between `other` and this one.

        A new attempt starts at 1, so its first event follows any event of an earlier attempt.
        """
        if self.attempt == other.attempt:
            return self.n == other.n + 1
        return self.attempt > other.attempt and self.n == 1


#: Before every event of every log.
START = EventId(0, 0)


class Event(msgspec.Struct, tag_field="type", frozen=True):
    """Base of everything that has a place in the log."""

    task_id: str
    id: str


class TaskStarted(Event, tag="task.started", frozen=True):
    """A higher attempt than before means: drop the text so far."""

    attempt: int
    model: str


class TaskDelta(Event, tag="task.delta", frozen=True):
    """`logprobs`: the log probabilities of its tokens, if they were asked for."""

    text: str
    reasoning: str
    logprobs: Sequence[msgspec.Raw] | UnsetType = UNSET


class TaskSnapshot(Event, tag="task.snapshot", frozen=True):
    """Replaces the text so far."""

    text: str
    reasoning: str


class TaskToolCall(Event, tag="task.tool_call", frozen=True):
    """A tool call that the model asks for, and again once its user has approved it.

    `arguments` is JSON as the model, or the user, wrote it; cut if `is_truncated`.
    """

    call_id: str
    tool: str
    server: str
    step: int
    state: str
    arguments: str
    is_truncated: bool | UnsetType = UNSET


class TaskRequiresAction(Event, tag="task.requires_action", frozen=True):
    """A tool call waits for its user until `deadline`: for approval or, if `kind` is input, for
    the answer to `message`, an object that fits `schema`. `question` counts those of the call."""

    call_id: str
    tool: str
    server: str
    step: int
    arguments: str
    deadline: datetime
    is_truncated: bool | UnsetType = UNSET
    kind: str = "approval"
    message: str | UnsetType = UNSET
    schema: dict[str, Any] | UnsetType = UNSET
    question: int | UnsetType = UNSET


class TaskToolResult(Event, tag="task.tool_result", frozen=True):
    """A tool call has ended: with a result, an error, or unmade. `text` may be cut, as it says."""

    call_id: str
    tool: str
    server: str
    step: int
    state: str
    is_error: bool
    text: str
    duration_seconds: float | None = None
    is_truncated: bool | UnsetType = UNSET


class TaskCompleted(Event, tag="task.completed", frozen=True):
    """`served_from`: "provider", "flight" (another task's call) or "cache".

    `is_truncated` where parts of the result are null, as they are too large for one frame.
    """

    result: dict[str, Any]
    usage: dict[str, Any]
    served_from: str = "provider"
    is_truncated: bool | UnsetType = UNSET


class TaskFailed(Event, tag="task.failed", frozen=True):
    error: dict[str, Any]


class TaskCancelled(Event, tag="task.cancelled", frozen=True):
    pass


class TaskExpired(Event, tag="task.expired", frozen=True):
    pass


AnyEvent = (
    TaskStarted
    | TaskDelta
    | TaskSnapshot
    | TaskToolCall
    | TaskRequiresAction
    | TaskToolResult
    | TaskCompleted
    | TaskFailed
    | TaskCancelled
    | TaskExpired
)
TERMINAL_TYPES = frozenset({"task.completed", "task.failed", "task.cancelled", "task.expired"})
#: Types that only followers of the text are sent.
TEXT_TYPES = frozenset({"task.delta", "task.snapshot"})
#: Types of events about tool calls.
CALL_TYPES = frozenset({"task.tool_call", "task.requires_action", "task.tool_result"})

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: msgspec.Struct) -> bytes:
    """The frame of an event. An end that is too large for one leaves out what is in the row."""
    frame = _encoder.encode(event)
    if len(frame) > FRAME_BYTES:
        return _encoder.encode(_shortened(event))
    return frame


def fits_frame(event: msgspec.Struct) -> bool:
    """Whether `encode` leaves nothing out."""
    return len(_encoder.encode(event)) <= FRAME_BYTES


def _shortened(event: msgspec.Struct) -> msgspec.Struct:
    match event:
        case TaskCompleted():
            result = {**event.result, "text": None, "reasoning": None}
            result |= {name: None for name in ("output", "logprobs") if name in result}
            if len(_encoder.encode(result)) > FRAME_BYTES // 2:
                result["tool_calls"] = None
            usage = event.usage if len(_encoder.encode(event.usage)) < FRAME_BYTES // 4 else {}
            return msgspec.structs.replace(event, result=result, usage=usage, is_truncated=True)
        case TaskFailed():
            message = str(event.error.get("message", ""))[:PIECE_CHARS]
            error = {"code": event.error.get("code"), "message": message}
            return msgspec.structs.replace(event, error=error)
    return event


def cut(text: str, reasoning: str) -> Sequence[tuple[str, str]]:
    """A text in (text, reasoning) pieces of at most PIECE_CHARS; one piece if that is enough."""
    if len(text) + len(reasoning) <= PIECE_CHARS:
        return ((text, reasoning),)
    thoughts = range(0, len(reasoning), PIECE_CHARS)
    texts = range(0, len(text), PIECE_CHARS)
    return [
        *(("", reasoning[start : start + PIECE_CHARS]) for start in thoughts),
        *((text[start : start + PIECE_CHARS], "") for start in texts),
    ]


def groups_of(logprobs: Sequence[msgspec.Raw]) -> Iterator[Sequence[msgspec.Raw]]:
    """The log probabilities of tokens in groups of at most PIECE_CHARS bytes, or of one token."""
    start = size = 0
    for end, entry in enumerate(logprobs):
        size += len(entry)
        if size > PIECE_CHARS and end > start:
            yield logprobs[start:end]
            start, size = end, len(entry)
    if start < len(logprobs):
        yield logprobs[start:]


def cuts_of(text: str, reasoning: str) -> list[int]:
    """The lengths of what a delta has, in the order in which it is read: reasoning comes first, and
    its length is negative."""
    if reasoning:
        return [-len(reasoning), len(text)] if text else [-len(reasoning)]
    return [len(text)] if text else []


def decode(frame: bytes) -> AnyEvent:
    return _decoder.decode(frame)


def event_type(frame: bytes) -> str:
    """The `type` of an encoded event, without decoding it: `encode` always writes it first."""
    return frame[9 : frame.index(b'"', 9)].decode()


def with_task_id(frame: bytes, old: str, new: str) -> bytes:
    """An encoded event of the task `old` as one of the task `new`, without decoding it.

    The id that is replaced is the first one in the frame: only the type is written before it.
    """
    return frame.replace(old.encode(), new.encode(), 1)


# --- Frames without a place in the log ----------------------------------------------------------
class WaitingFor(msgspec.Struct, frozen=True):
    """What keeps a queued task, beside its turn, until about when; None: not known.

    `kind` is staff (they have paused its model or provider), pause (the provider said 429), breaker
    (it is left alone as it fails), limit (a minute's requests or tokens are used up), or retry (the
    task's own next attempt).
    """

    kind: str
    until: datetime | None = None


class Hello(msgspec.Struct, tag_field="type", tag="hello", frozen=True):
    protocol: str = PROTOCOL


class TaskAcceptedFrame(msgspec.Struct, tag_field="type", tag="task.accepted", frozen=True):
    ref: str | None
    task_id: str
    position: int | None
    eta_seconds: float | None
    waiting_for: WaitingFor | None = None
    #: The first message of the conversation that is sent, where older ones are not.
    history_from: str | None = None


class TaskQueued(msgspec.Struct, tag_field="type", tag="task.queued", frozen=True):
    task_id: str
    position: int | None
    eta_seconds: float | None
    waiting_for: WaitingFor | None = None


class SnapshotPiece(msgspec.Struct, tag_field="type", tag="task.snapshot", frozen=True):
    """The beginning of a snapshot that comes in pieces. The last piece has the snapshot's id."""

    task_id: str
    text: str
    reasoning: str


class DeltaPiece(msgspec.Struct, tag_field="type", tag="task.delta", frozen=True):
    """A further piece of such a snapshot."""

    task_id: str
    text: str
    reasoning: str


class RunProgress(msgspec.Struct, tag_field="type", tag="run.progress", frozen=True):
    """How far a run is. `counts` are rows by their state; rate and ETA are None while unknown."""

    run_id: str
    state: str
    reason: str | None
    message: str | None
    #: What a text of the reason in another language needs.
    params: dict[str, str | float] | None
    counts: dict[str, int]
    cost: str
    currency: str | None
    prompt_tokens: int
    completion_tokens: int
    rows_per_second: float | None
    eta_seconds: float | None


class EventsMissed(msgspec.Struct, tag_field="type", tag="events.missed", frozen=True):
    """Life-cycle events of tasks that the socket does not follow were dropped."""


class ErrorFrame(msgspec.Struct, tag_field="type", tag="error", frozen=True):
    ref: str | None
    error: dict[str, Any]


class Pong(msgspec.Struct, tag_field="type", tag="pong", omit_defaults=True, frozen=True):
    ref: str | None = None
