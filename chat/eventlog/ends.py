"""The ends of one user's tasks, for the requests of this process that wait for them.

A waiting request needs one notice of its task, the last. A feed and a follower for each would cost
more than the rest of the request, so these are looked up by the task's id, and wake a callback.
"""

from __future__ import annotations

from collections.abc import Callable

from chat.eventlog.notices import Notice
from chat.events import TERMINAL_TYPES, event_type

#: Ends that came before their tasks' ids were known here, and their bytes.
MAX_EARLY, MAX_EARLY_BYTES = 1_000, 4_194_304

#: Called with the terminal notice, or with None if notices may have been lost: read the row. Must
#: not call UserEnds.
OnEnd = Callable[[Notice | None], object]


class UserEnds:
    """Calls back at the ends of a user's tasks.

    A request enters before it submits its task, and leaves once it waits no more. An end that comes
    in between, while the id of the task is not known here yet, is kept until the request asks.
    """

    def __init__(self) -> None:
        self._users = 0
        #: By the task's id. Several requests wait for a task that was submitted more than once with
        #: one Idempotency-Key.
        self._waiting: dict[str, list[OnEnd]] = {}
        #: How many requests wait.
        self._waits = 0
        self._early: dict[str, Notice] = {}
        self._early_bytes = 0
        #: Ends were lost that a request might still ask for.
        self._has_dropped = False

    @property
    def has_users(self) -> bool:
        return self._users > 0

    def enter(self) -> None:
        self._users += 1

    def leave(self) -> None:
        self._users -= 1
        self._forget_early()

    def wait(self, task_id: str, on_end: OnEnd) -> None:
        """Call `on_end` at the task's end; at once if that has come, or may have been lost."""
        notice = self._early.pop(task_id, None)
        if notice is not None:
            self._early_bytes -= len(notice.frame)
        self._waiting.setdefault(task_id, []).append(on_end)
        self._waits += 1
        if notice is not None or self._has_dropped:
            on_end(notice)
        self._forget_early()

    def wait_no_more(self, task_id: str, on_end: OnEnd) -> None:
        """Call `on_end` no more, which `wait` was given."""
        self._waits -= 1
        on_ends = self._waiting[task_id]
        on_ends.remove(on_end)
        if not on_ends:
            del self._waiting[task_id]

    def push(self, notice: Notice) -> None:
        """A notice of one of the user's tasks has come, whichever."""
        on_ends = self._waiting.get(notice.task_id)
        # Every user of the hub waits for a task by now: notices of other tasks are not kept.
        if on_ends is None and self._users <= self._waits:
            return
        if event_type(notice.frame) not in TERMINAL_TYPES:
            return
        if on_ends is None:
            self._keep_early(notice)
            return
        for on_end in on_ends:
            on_end(notice)

    def mark_lagging(self) -> None:
        """Notices may have been lost: have all waiters read their rows."""
        self._drop_early()
        for on_ends in self._waiting.values():
            for on_end in on_ends:
                on_end(None)

    def _keep_early(self, notice: Notice) -> None:
        self._early[notice.task_id] = notice
        self._early_bytes += len(notice.frame)
        if len(self._early) > MAX_EARLY or self._early_bytes > MAX_EARLY_BYTES:
            self._drop_early()

    def _drop_early(self) -> None:
        self._early.clear()
        self._early_bytes = 0
        self._has_dropped = self._users > self._waits

    def _forget_early(self) -> None:
        if self._users <= self._waits:
            self._early.clear()
            self._early_bytes = 0
            self._has_dropped = False
