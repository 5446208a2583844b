"""The times of attempts before a task's last one, whose own are in columns.

They are appended in the UPDATE that sends the task back to the queue. A task with one attempt has
none, and costs nothing.
"""

from __future__ import annotations

#: Earlier attempts that are kept of a task, the latest ones.
MAX_EARLIER_ATTEMPTS = 20
#: Outcomes without an error: the worker was stopped; the answer is to be repaired; it asks for tool
#: calls.
HANDED_BACK, INVALID_OUTPUT, TOOL_CALLS = "handed_back", "invalid_output", "tool_calls"


def with_this_attempt(task: str, *, first_text_at: str, outcome: str) -> str:
    """SQL: the task's earlier attempts and the one that ends now, as a jsonb list.

    `task`: the alias of its row; the others are SQL expressions.
    """
    return f"""
        coalesce(CASE WHEN jsonb_array_length({task}.earlier_attempts) >= {MAX_EARLIER_ATTEMPTS}
                      THEN {task}.earlier_attempts - 0 ELSE {task}.earlier_attempts END, '[]')
        || jsonb_build_array(jsonb_build_object(
             'attempt', {task}.attempt,
             'model', (SELECT m.name FROM chat_llmmodel m WHERE m.id = {task}.model_id),
             'started_at', {task}.started_at, 'first_token_at', {first_text_at},
             'ended_at', now(), 'outcome', {outcome}))"""  # noqa: S608 - expressions of ours
