"""Every change of a task's status: one conditional UPDATE each, for many tasks at a time.

The condition names the status and, where a worker acts, the attempt and the worker. If an UPDATE
changes no row, another process has changed the task before, and it is that process's from then on.
"""

from __future__ import annotations

from chat.models.transitions.attempts import (
    LARGE_PROMPT_BYTES,
    AttemptResult,
    CancelledCall,
    Route,
    StartedTask,
    cancel_running,
    end,
    keep_partial,
    load_messages,
    start,
)
from chat.models.transitions.queued import (
    DivertedTask,
    EndedWithoutCall,
    cancel_queued,
    cancel_waiting,
    clear_not_before,
    divert,
    expire,
    expire_waiting,
    fail_disabled,
    fail_queued,
)
from chat.models.transitions.recovery import (
    RecoveredTask,
    note_last_events,
    recover,
    recover_stranded,
)
from chat.models.transitions.task_errors import INTERNAL, MODEL_DISABLED, WORKER_LOST

__all__ = [
    "INTERNAL",
    "LARGE_PROMPT_BYTES",
    "MODEL_DISABLED",
    "WORKER_LOST",
    "AttemptResult",
    "CancelledCall",
    "DivertedTask",
    "EndedWithoutCall",
    "RecoveredTask",
    "Route",
    "StartedTask",
    "cancel_queued",
    "cancel_running",
    "cancel_waiting",
    "clear_not_before",
    "divert",
    "end",
    "expire",
    "expire_waiting",
    "fail_disabled",
    "fail_queued",
    "keep_partial",
    "load_messages",
    "note_last_events",
    "recover",
    "recover_stranded",
    "start",
]
