"""One ordered log of events a task, and the ways to append to it, read it and be told of news."""

from chat.eventlog.hub import Feed, FeedPool, Hub, Source, get_hub
from chat.eventlog.log import (
    FIRST_PAGE,
    Append,
    Appended,
    aappend,
    announce,
    append,
    end_waiting,
    last_events,
    next_count,
    notify,
    read,
    tell_listening,
)
from chat.eventlog.writer import LogWriter, TaskLog

__all__ = [
    "FIRST_PAGE",
    "Append",
    "Appended",
    "Feed",
    "FeedPool",
    "Hub",
    "LogWriter",
    "Source",
    "TaskLog",
    "aappend",
    "announce",
    "append",
    "end_waiting",
    "get_hub",
    "last_events",
    "next_count",
    "notify",
    "read",
    "tell_listening",
]
