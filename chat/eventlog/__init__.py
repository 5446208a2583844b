"""One ordered log of events a task, and the ways to append to it, read it and be told of news."""

from chat.eventlog.hub import Feed, Hub, Source, get_hub
from chat.eventlog.log import (
    Append,
    Appended,
    aappend,
    announce,
    append,
    end_waiting,
    last_events,
    notify,
    read,
    tell_listening,
)
from chat.eventlog.writer import LogWriter, TaskLog

__all__ = [
    "Append",
    "Appended",
    "Feed",
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
    "notify",
    "read",
    "tell_listening",
]
