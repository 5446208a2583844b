"""Why a stream or a waiting request ends before what it waits for has come."""

from __future__ import annotations

from enum import Enum, auto


class Interruption(Enum):
    #: The client has closed its connection.
    DISCONNECTED = auto()
    #: The access of the request was revoked, or has expired.
    ACCESS_LOST = auto()
    #: The process shuts down.
    SHUTDOWN = auto()
    #: The longest time that a request may wait is over.
    TIMED_OUT = auto()
    #: Making the next event of a stream has failed; it is in the log.
    FAILED = auto()
