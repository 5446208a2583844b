"""Steps of tool loops and their calls.

Every change of a call locks the row of its task first, then those of the calls.
"""

from __future__ import annotations

from chat.models.transitions.tool_steps.approval import (
    approve_call,
    overdue_calls,
    reject_calls,
)
from chat.models.transitions.tool_steps.locked_calls import (
    PAGE,
    EndedCall,
    LoopState,
)
from chat.models.transitions.tool_steps.loops import (
    RunningCall,
    cancel_calls,
    fail_ready,
    has_queued_calls,
    has_waiting,
    lock_loops,
)
from chat.models.transitions.tool_steps.new_steps import (
    NewCall,
    NewStep,
    store_steps,
)
from chat.models.transitions.tool_steps.questions import (
    AskingCall,
    answer_question,
    ask_user,
)
from chat.models.transitions.tool_steps.recovery import (
    MAX_RUNS,
    recover_calls,
    recover_stranded_calls,
    stranded_calls,
    taken_calls,
)
from chat.models.transitions.tool_steps.worker_calls import (
    ClaimedCall,
    claim_calls,
    end_calls,
    put_back_calls,
)

__all__ = [
    "MAX_RUNS",
    "PAGE",
    "AskingCall",
    "ClaimedCall",
    "EndedCall",
    "LoopState",
    "NewCall",
    "NewStep",
    "RunningCall",
    "answer_question",
    "approve_call",
    "ask_user",
    "cancel_calls",
    "claim_calls",
    "end_calls",
    "fail_ready",
    "has_queued_calls",
    "has_waiting",
    "lock_loops",
    "overdue_calls",
    "put_back_calls",
    "recover_calls",
    "recover_stranded_calls",
    "reject_calls",
    "store_steps",
    "stranded_calls",
    "taken_calls",
]
