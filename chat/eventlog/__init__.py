"""One ordered log of events a task, and the ways to append to it, read it and be told of news."""

from chat.eventlog.hub import Feed, Hub, get_hub
from chat.eventlog.log import (
    Append,
    Appended,
    aappend,
    append,
    end_waiting,
    last_events,
    notify,
    read,
)
from chat.eventlog.writer import LogWriter, TaskLog

__all__ = [
    "Append",
    "Appended",
    "Feed",
    "Hub",
    "LogWriter",
    "TaskLog",
    "aappend",
    "append",
    "end_waiting",
    "get_hub",
    "last_events",
    "notify",
    "read",
]
