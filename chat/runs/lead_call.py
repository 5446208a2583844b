"""The lead call of a run: where its prompts begin alike, the first row goes alone.

Providers keep the beginning of a prompt once a call has read it, and charge a fraction for it from
then on (DeepSeek a fiftieth). Calls that begin together all pay for it in full.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from aily.database.rows import fetch_column
from aily.problems import Problem
from chat.models import Run, Task
from chat.runs import clock, sampling

#: Providers keep no less than 1,024 tokens.
MIN_PREFIX_BYTES = 4_096
#: After this the others go as well, whether or not the lead has its answer.
MAX_SECONDS = 5.0

_OLDEST = """
SELECT t.created_at FROM chat_runrow r JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open' ORDER BY r.number LIMIT 1
"""


def rows_to_lead(run: Run) -> int | None:
    """How many rows may be fed now: 1 that leads, 0 while it is under way; None: any number."""
    if run.ended_rows or run.pending + run.open < 2:
        return None
    if run.open and _is_late(run):
        return None
    if not _begins_alike(run):
        return None
    return 0 if run.open else 1


def _is_late(run: Run) -> bool:
    """Whether the first task has had its time; True if there is none."""
    found = fetch_column(datetime, _OLDEST, {"run_id": run.pk})
    return not found or clock.now() - found[0] >= timedelta(seconds=MAX_SECONDS)


def _begins_alike(run: Run) -> bool:
    """Whether the prompts of two rows have a long beginning in common."""
    try:
        drafts = sampling.sample(run, 2).tasks
    except Problem:
        return False
    if len(drafts) < 2:
        return False
    first, second = (_prompt(task)[:MIN_PREFIX_BYTES] for _, task in drafts[:2])
    return len(first) == MIN_PREFIX_BYTES and first == second


def _prompt(task: Task) -> bytes:
    return msgspec.json.encode(task.messages)
