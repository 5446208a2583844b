"""The frames of an ended task by its row: for a log that expired, was lost, or lacks its end."""

from __future__ import annotations

from chat.events import START, EventId, TaskSnapshot, encode, event_type, fits_frame
from chat.models import Status, Task
from chat.services.pieces import Followed, in_pieces, snapshot_pieces


def frames_of_row(task: Task, cursor: EventId, *, text: bool) -> list[Followed]:
    """Return what a follower that has seen everything up to `cursor` lacks."""
    end = EventId(task.attempt, max(task.last_event, 1))
    if task.last_event and cursor == end:
        return []
    if cursor >= end:
        end = EventId(cursor.attempt, cursor.n + 1)
    event = task.terminal_event(str(end))
    before = EventId(end.attempt, end.n - 1) if end.n > 1 else None
    # A follower from the start gets the whole text with the end itself, if that has it.
    has_it_all = task.status == Status.SUCCEEDED and cursor == START and fits_frame(event)
    lacks_text = text and not has_it_all and cursor < (before or EventId(end.attempt, 1))
    frames: list[Followed] = []
    if lacks_text and (task.text or task.reasoning):
        frames = _snapshot(task, before, cursor)
    frame = encode(event)
    return [*frames, Followed(end, event_type(frame), frame)]


def _snapshot(task: Task, place: EventId | None, cursor: EventId) -> list[Followed]:
    task_id = str(task.pk)
    if place is None:
        return list(snapshot_pieces(task_id, task.text, task.reasoning, None, cursor))
    snapshot = TaskSnapshot(
        task_id=task_id, id=str(place), text=task.text, reasoning=task.reasoning
    )
    whole = Followed(place, "task.snapshot", encode(snapshot))
    # A log that is only late may yet get events of the ids between.
    return list(in_pieces(whole, cursor if cursor == START else place))
