"""What the bench asks of the load generator, and what it gets back: the two talk in these."""

from __future__ import annotations

import msgspec

#: The scene every task runs: its user message is the variable `text`.
SCENE = "bench"
#: The model that the bench's own simulator serves.
MODEL = "bench"

#: Its multiples, modulo 1, are spread evenly over 0 to 1 whatever stretch of numbers one takes.
_GOLDEN = 0.618033988749895


class Target(msgspec.Struct):
    """Where to send. Each key is a user with one socket; without sockets all goes over REST."""

    base_url: str
    keys: list[str]
    sockets: bool = True


class Wave(msgspec.Struct):
    """What to send. Tasks go round the keys; the next wave begins when this one is over.

    `ramp_seconds` spreads the submits evenly over that time. None is a closed loop: a client
    sends its next task when the one before was accepted, or, with `one_by_one`, ended.
    """

    tasks: int
    timeout_seconds: float
    first_number: int = 0
    ramp_seconds: float | None = None
    one_by_one: bool = False
    stream: bool = False
    #: False: the wave is over when the last task is accepted.
    wait_for_end: bool = True
    #: Seconds before the first token, from and to; None is what the simulator was started with.
    latency_seconds: tuple[float, float] | None = None
    #: More orders to the simulator, such as "clock".
    directives: str = ""
    #: Note when each frame came, not only the last.
    stamp_frames: bool = False

    def latency_of(self, number: int) -> float:
        """Of task `number`, where `latency_seconds` says a range."""
        low, high = self.latency_seconds or (0.0, 0.0)
        return round(low + (high - low) * (number * _GOLDEN % 1), 3)

    def text_of(self, number: int) -> str:
        """The variable `text` of task `number`: each its own, so that no answer fits two tasks."""
        orders = [self.directives] if self.directives else []
        if self.latency_seconds is not None:
            orders.append(f"latency={self.latency_of(number)}")
        asked = f" [sim:{','.join(orders)}]" if orders else ""
        return (
            f"Task {number}: "
            + "the queue is the product, all the rest reads it; " * 4
            + f"that is all.{asked}"
        )


class TaskRecord(msgspec.Struct):
    """One task as its client saw it; times in seconds of the generator's monotonic clock."""

    number: int
    sent_at: float
    task_id: str = ""
    accepted_at: float | None = None
    ended_at: float | None = None
    #: Every frame about this task but `task.accepted`, as it came.
    frames: list[bytes] = []
    #: When each of `frames` came, where the wave asked for it.
    stamps: list[float] = []


class Recording(msgspec.Struct):
    """One wave. `unix_offset` turns its times into Unix time."""

    started_at: float
    ended_at: float
    unix_offset: float
    tasks: list[TaskRecord]
    #: `error` frames, frames about unknown tasks, sockets that closed.
    errors: list[str]
    #: How late the generator's own timers were: it cannot see delays shorter than these.
    timer_lags_seconds: list[float]

    @property
    def seconds(self) -> float:
        return self.ended_at - self.started_at


class Progress(msgspec.Struct):
    """One line of the generator's output. Phases: connecting, ready, then for each wave running,
    ended, written."""

    phase: str
    connected: int = 0
    #: Handshakes that had to be tried again.
    refused: int = 0
    submitted: int = 0
    accepted: int = 0
    ended: int = 0
