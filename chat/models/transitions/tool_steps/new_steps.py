"""New steps: answers of models that ask for tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from aily.database.rows import execute
from chat.models.tool_calls import CallState
from chat.models.transitions.tool_steps.locked_calls import to_json


class NewCall(msgspec.Struct, frozen=True):
    """A call of a new step. `result_event`: it has ended already, as it cannot be made."""

    id: UUID
    place: int
    call_id: str
    name: str
    arguments: str
    state: str
    called_event: int
    tool_id: int | None = None
    server: str = ""
    is_idempotent: bool = False
    price: str = "0"
    currency: str = ""
    expires_at: datetime | None = None
    asked_event: int = 0
    result_event: int = 0
    text: str = ""
    error_code: str = ""


class NewStep(msgspec.Struct, frozen=True):
    """An answer of the model that asks for tool calls."""

    number: int
    attempt: int
    text: str
    reasoning: str
    usage: dict[str, int]
    model_seconds: float
    created_at: datetime
    calls: Sequence[NewCall]

    @property
    def last_event(self) -> int:
        """n of the last event of its calls."""
        return max(
            max(call.called_event, call.asked_event, call.result_event) for call in self.calls
        )

    def has(self, state: CallState) -> bool:
        return any(call.state == state for call in self.calls)


_INSERT_STEPS = """
INSERT INTO chat_toolstep (task_id, number, attempt, text, reasoning, usage, model_seconds,
                           created_at, needs_announcing)
SELECT task_id, number, attempt, text, reasoning, usage, model_seconds, created_at, needs_announcing
  FROM json_to_recordset(%(steps)s)
    AS v(task_id uuid, number int, attempt int, text text, reasoning text, usage jsonb,
         model_seconds float, created_at timestamptz, needs_announcing bool)
"""
_INSERT_CALLS = """
INSERT INTO chat_toolcall (id, task_id, step, place, call_id, name, tool_id, server, arguments,
       is_idempotent, price, currency, state, runs, expires_at, reason, text, is_error, error_code,
       result_bytes, finished_at, called_event, asked_event, decided_event, result_event, attempt)
SELECT id, task_id, step, place, call_id, name, tool_id, server, arguments, is_idempotent, price,
       currency, state, 0, expires_at, '', text, error_code <> '', error_code, octet_length(text),
       CASE WHEN result_event > 0 THEN now() END, called_event, asked_event, 0, result_event,
       attempt
  FROM json_to_recordset(%(calls)s)
    AS v(id uuid, task_id uuid, step int, place int, call_id text, name text, tool_id bigint,
         server text, arguments text, is_idempotent bool, price numeric, currency text, state text,
         expires_at timestamptz, text text, error_code text, called_event int, asked_event int,
         result_event int, attempt int)
"""


def store_steps(steps: Iterable[tuple[UUID, NewStep]]) -> None:
    """Insert steps and their calls, in the transaction that ends the attempts which gave them."""
    rows: list[dict[str, object]] = []
    calls: list[dict[str, object]] = []
    for task_id, step in steps:
        own = {"task_id": task_id, "attempt": step.attempt}
        asks = step.has(CallState.REQUIRES_ACTION)
        columns = msgspec.structs.asdict(step)
        rows.append({**columns, **own, "calls": None, "needs_announcing": asks})
        calls += [
            {**msgspec.structs.asdict(call), **own, "step": step.number} for call in step.calls
        ]
    if rows:
        execute(_INSERT_STEPS, {"steps": to_json(rows)})
        execute(_INSERT_CALLS, {"calls": to_json(calls)})
