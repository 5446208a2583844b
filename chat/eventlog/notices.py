"""The format of notices: what is published when a task has a new event.

A notice is `<task id><event id>@<milliseconds> <frame>`. The event id is missing where the frame
has no place in the log (`task.queued`), and `@` with the time where the lag is not to be measured.
"""

from __future__ import annotations

from typing import NamedTuple

from chat.events import EventId

_TASK_ID_CHARS = 36


class Notice(NamedTuple):
    """A task's new event, and when the oldest text in it was written (Unix seconds)."""

    event_id: EventId | None
    task_id: str
    frame: bytes
    written_at: float | None = None


def notice_time(written_at: float | None) -> str:
    """The part of a notice that says when the event was written."""
    return "" if written_at is None else f"@{written_at * 1000:.0f}"


def encode_notice(notice: Notice) -> bytes:
    """Make a notice. Those of events that are appended are made by lua/append.lua."""
    place = "" if notice.event_id is None else str(notice.event_id)
    header = f"{notice.task_id}{place}{notice_time(notice.written_at)} "
    return header.encode() + notice.frame


def parse_notice(payload: bytes) -> Notice:
    """Parse what `encode_notice` made. Raises ValueError."""
    header_end = payload.index(b" ", _TASK_ID_CHARS)
    header = payload[:header_end].decode()
    place, _, milliseconds = header[_TASK_ID_CHARS:].partition("@")
    return Notice(
        EventId.parse(place) if place else None,
        header[:_TASK_ID_CHARS],
        payload[header_end + 1 :],
        int(milliseconds) / 1000 if milliseconds else None,
    )
