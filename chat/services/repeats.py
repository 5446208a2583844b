"""Repeated submits: the task that an idempotency key made before, whatever has changed since."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from aily.database.rows import Row, Statement
from chat.models import Task

#: An owner's id, and one of that owner's idempotency keys.
OwnedKey = tuple[int, str]

# By the unique index, whose condition is named: no row of another owner is read.
_FIND = """
SELECT t.owner_id, t.idempotency_key, t.id AS task_id, t.request_digest
  FROM unnest(%s::bigint[], %s::text[]) AS v(owner_id, key)
  JOIN chat_task t ON t.owner_id = v.owner_id AND t.idempotency_key = v.key
 WHERE t.idempotency_key IS NOT NULL
"""

#: Columns that may be large, and that no answer to a submit shows.
_LARGE = (
    *("messages", "params", "response_format", "metadata", "text", "reasoning", "tool_calls"),
    *("repair", "usage", "error", "logprobs"),
)


class EarlierTask(Row, frozen=True):
    """The task that a key made, and the digest of the request it was made with."""

    owner_id: int
    idempotency_key: str
    task_id: UUID
    request_digest: str


def keys_query(keys: Collection[OwnedKey]) -> Statement[EarlierTask]:
    """The statement whose rows `by_key` takes."""
    params = [[owner_id for owner_id, _ in keys], [key for _, key in keys]]
    return Statement(EarlierTask, _FIND, params)


def by_key(rows: Iterable[EarlierTask]) -> dict[OwnedKey, EarlierTask]:
    return {(row.owner_id, row.idempotency_key): row for row in rows}


def find_by_key(keys: Collection[OwnedKey]) -> dict[OwnedKey, EarlierTask]:
    """The tasks that these keys have made, in one query; none where there are no keys."""
    return by_key(keys_query(keys).fetch()) if keys else {}


def has_made_task(owner_id: int, key: str) -> bool:
    return bool(find_by_key([(owner_id, key)]))


def load_tasks(earlier_tasks: Iterable[EarlierTask]) -> dict[UUID, Task]:
    """The rows of tasks found, by id, without their large columns."""
    ids = [earlier.task_id for earlier in earlier_tasks]
    tasks = Task.objects.filter(pk__in=ids).select_related("model__provider").defer(*_LARGE)
    return {task.pk: task for task in tasks}
