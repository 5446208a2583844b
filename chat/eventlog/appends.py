"""Appends events to the Redis Streams that hold tasks' events, and publishes their notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from aily.observability.metrics import batch_size
from aily.redis.clients import sync_redis
from aily.redis.scripts import LuaScript
from chat.eventlog.keys import life_channel, log_key, text_channel, user_channel
from chat.eventlog.notices import Notice, encode_notice, notice_time
from chat.events import Event, EventId, TaskQueued, encode

_append = LuaScript[list[int]](Path(__file__).parent / "lua" / "append.lua")


class Outcome(IntEnum):
    """What became of one event, in the numbers of append.lua.

    REPEATED: it was appended before. REFUSED: a newer attempt owns the log. MISSING: Redis lost the
    log, or its end.
    """

    APPENDED = 1
    REPEATED = 0
    REFUSED = -1
    MISSING = -2


class Appended(NamedTuple):
    """What became of one event, and whether anything was subscribed to its task's text."""

    outcome: Outcome
    has_listeners: bool


#: Each is made once: there is one for each delta.
_APPENDED: dict[tuple[int, bool], Appended] = {
    (code, has): Appended(code, has) for code in Outcome for has in (False, True)
}


class Append(msgspec.Struct, frozen=True, gc=False):
    """One event to be appended to a task's log. `channel`: of its notice.

    `create`: it may begin the log. `keep_seconds`: when the log expires; 0 leaves that as it is.
    `follower_id`: the event is only published, in its turn, for this task that has no log itself.
    """

    task_id: str
    event_id: EventId
    frame: bytes
    channel: str
    create: bool = False
    keep_seconds: int = 0
    follower_id: str = ""


class _Options(msgspec.Struct, omit_defaults=True):
    """What is not as for a delta, in append.lua's words."""

    channel: str = ""
    follower: str = ""
    create: bool = False
    expires: int = 0


_encode = msgspec.json.Encoder().encode
#: The keys and arguments of one call of the script.
_Call = tuple[list[str], list[str | bytes]]


def append(appends: Sequence[Append]) -> list[Appended]:
    """Append in one round trip. Raises RedisUnavailable."""
    return _appended(_append.call_many(_calls(appends, None)))


async def aappend(appends: Sequence[Append], written_at: float | None = None) -> list[Appended]:
    """`append` for an event loop. `written_at`: when the oldest was written (Unix seconds)."""
    batch_size("append").observe(len(appends))
    return _appended(await _append.acall_many(_calls(appends, written_at)))


def _calls(appends: Sequence[Append], written_at: float | None) -> list[_Call]:
    """One call for the events of each task: their keys share a hash slot, and stay in order."""
    time = notice_time(written_at)
    return [
        ([log_key(task_id)], _arguments(text_channel(task_id), time, events))
        for task_id, events in groupby(appends, attrgetter("task_id"))
    ]


def _arguments(channel: str, time: str, events: Iterable[Append]) -> list[str | bytes]:
    """In append.lua's order. `channel` is that of the task's text."""
    arguments: list[str | bytes] = [channel, time]
    for event in events:
        is_usual = event.channel == channel and not (
            event.create or event.keep_seconds or event.follower_id
        )
        options = b"" if is_usual else _options(channel, event)
        arguments += (str(event.event_id), event.frame, options)
    return arguments


def _options(channel: str, event: Append) -> bytes:
    return _encode(
        _Options(
            channel="" if event.channel == channel else event.channel,
            follower=event.follower_id,
            create=event.create,
            expires=event.keep_seconds,
        )
    )


def _appended(replies: Sequence[Sequence[int]]) -> list[Appended]:
    return [_APPENDED[code, listeners > 0] for listeners, *codes in replies for code in codes]


# --- Ends of tasks that no worker runs ----------------------------------------------------------
def append_ends(
    ends: Sequence[tuple[int, Event]], keep_seconds: int, *, is_quiet: bool = False
) -> None:
    """Append the terminal events, (owner id, event), of tasks that ended without a worker.

    Such a task may never have had a log. `is_quiet`: they are rows of a run. Raises
    RedisUnavailable.
    """
    appends = [
        Append(
            event.task_id,
            EventId.parse(event.id),
            encode(event),
            life_channel(event.task_id, owner_id, is_quiet=is_quiet),
            create=True,
            keep_seconds=keep_seconds,
        )
        for owner_id, event in ends
    ]
    if appends:
        append(appends)


# --- Notices without a log ----------------------------------------------------------------------
def publish_ends(ends: Sequence[tuple[int, Event]]) -> None:
    """Publish the terminal events, (owner id, event), of tasks that have no log of their own.

    Raises RedisUnavailable.
    """
    pipe = sync_redis().pipeline(transaction=False)
    for owner_id, event in ends:
        notice = Notice(EventId.parse(event.id), event.task_id, encode(event))
        pipe.publish(user_channel(owner_id), encode_notice(notice))
    pipe.execute()


def publish_queued(owner_id: int, frame: TaskQueued) -> None:
    """Publish where a queued task is; not logged, as only the latest matters.

    Raises RedisUnavailable.
    """
    notice = Notice(None, frame.task_id, encode(frame))
    sync_redis().publish(user_channel(owner_id), encode_notice(notice))
