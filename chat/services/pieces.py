"""Frames for the followers of a task; a snapshot that is too large for one frame goes in pieces.

The pieces take the ids up to the snapshot's own, if the follower has seen no event with one of
them: a client that resumes after any piece is sent the snapshot again. If there are too few such
ids, only the last piece has one, so that the client resumes after what it had before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from chat.events import (
    FRAME_BYTES,
    TERMINAL_TYPES,
    DeltaPiece,
    EventId,
    SnapshotPiece,
    TaskDelta,
    TaskSnapshot,
    cut,
    encode,
    event_type,
)


@dataclass(frozen=True, slots=True)
class Followed:
    """One frame for a follower; `event_id` is None for frames without a place in the log."""

    event_id: EventId | None
    type: str
    frame: bytes

    @property
    def is_terminal(self) -> bool:
        return self.type in TERMINAL_TYPES


def is_in_pieces(followed: Followed) -> bool:
    return followed.type == "task.snapshot" and len(followed.frame) > FRAME_BYTES


def in_pieces(followed: Followed, cursor: EventId) -> Iterator[Followed]:
    """The frame itself, or the pieces of a large snapshot for a follower that has seen `cursor`."""
    if not is_in_pieces(followed):
        yield followed
        return
    event = msgspec.json.decode(followed.frame, type=TaskSnapshot)
    texts = event.text, event.reasoning
    yield from snapshot_pieces(event.task_id, *texts, followed.event_id, cursor)


def snapshot_pieces(
    task_id: str, text: str, reasoning: str, place: EventId | None, cursor: EventId
) -> Iterator[Followed]:
    """A text in pieces, the last of which is at `place`; None: it has no place in the log."""
    pieces = cut(text, reasoning)
    ids = _ids(len(pieces), place, cursor)
    for number, ((part, thought), event_id) in enumerate(zip(pieces, ids, strict=True)):
        frame = encode(_event(task_id, part, thought, event_id, is_first=number == 0))
        yield Followed(event_id, event_type(frame), frame)


def _ids(count: int, place: EventId | None, cursor: EventId) -> Sequence[EventId | None]:
    if place is None:
        return [None] * count
    seen = cursor.n if cursor.attempt == place.attempt else 0
    first = place.n - count + 1
    if first > seen:
        return [EventId(place.attempt, first + number) for number in range(count)]
    return [*[None] * (count - 1), place]


def _event(
    task_id: str, text: str, reasoning: str, event_id: EventId | None, *, is_first: bool
) -> TaskSnapshot | TaskDelta | SnapshotPiece | DeltaPiece:
    if event_id is None:
        piece = SnapshotPiece if is_first else DeltaPiece
        return piece(task_id=task_id, text=text, reasoning=reasoning)
    event = TaskSnapshot if is_first else TaskDelta
    return event(task_id=task_id, id=str(event_id), text=text, reasoning=reasoning)
