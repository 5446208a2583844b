"""One ordered log of events a task: appending to it, reading it, being notified of news."""

from chat.eventlog.appends import (
    Append,
    Appended,
    Outcome,
    aappend,
    append,
    append_ends,
    publish_ends,
    publish_queued,
)
from chat.eventlog.ends import UserEnds
from chat.eventlog.feeds import Feed, FeedPool
from chat.eventlog.hub import Source, get_hub
from chat.eventlog.listeners import announce_listener
from chat.eventlog.notices import Notice
from chat.eventlog.reads import FIRST_PAGE, last_events, next_count, read
from chat.eventlog.task_log import TaskLog
from chat.eventlog.transcripts import read_deltas
from chat.eventlog.writer import LogWriter, LogWriters

__all__ = [
    "FIRST_PAGE",
    "Append",
    "Appended",
    "Feed",
    "FeedPool",
    "LogWriter",
    "LogWriters",
    "Notice",
    "Outcome",
    "Source",
    "TaskLog",
    "UserEnds",
    "aappend",
    "announce_listener",
    "append",
    "append_ends",
    "get_hub",
    "last_events",
    "next_count",
    "publish_ends",
    "publish_queued",
    "read",
    "read_deltas",
]
