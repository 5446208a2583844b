"""What the bench asks of the load generator, and what it gets back: the two talk in these."""

from __future__ import annotations

import msgspec

#: The scene every task runs: its user message is the variable `text`.
SCENE = "bench"
#: The model that the bench's own simulator serves.
MODEL = "bench"


def text_of(number: int) -> str:
    """The variable `text` of task `number`: each its own, so that no answer fits two tasks."""
    return (
        f"Task {number}: "
        + "the queue is the product, all the rest reads it; " * 4
        + "that is all."
    )


class Load(msgspec.Struct):
    """What to send. Each key is a user with one socket; tasks go round the sockets.

    `ramp_seconds` spreads the submits evenly over that time. None is a closed loop: a socket
    sends its next task when the one before was accepted.
    """

    url: str
    keys: list[str]
    tasks: int
    timeout_seconds: float
    ramp_seconds: float | None = None
    stream: bool = False
    #: False: the run is over when the last task is accepted.
    wait_for_end: bool = True


class TaskRecord(msgspec.Struct):
    """One task as its client saw it; times in seconds of the generator's monotonic clock."""

    number: int
    sent_at: float
    task_id: str = ""
    accepted_at: float | None = None
    ended_at: float | None = None
    #: Every frame about this task but `task.accepted`, as it came.
    frames: list[str] = []


class Recording(msgspec.Struct):
    """One run. `unix_offset` turns its times into Unix time."""

    started_at: float
    ended_at: float
    unix_offset: float
    tasks: list[TaskRecord]
    #: `error` frames, frames about unknown tasks, sockets that closed.
    errors: list[str]
    #: How late the generator's own timers were: it cannot see delays shorter than these.
    timer_lags_seconds: list[float]


class Progress(msgspec.Struct):
    """One line of the generator's output. Phases: connecting, ready, running, ended, written."""

    phase: str
    connected: int = 0
    submitted: int = 0
    accepted: int = 0
    ended: int = 0
