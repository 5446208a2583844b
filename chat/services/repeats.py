"""Repeated submits: the task that an idempotency key made before, whatever has changed since."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from aily.database.statements import Question, fetch_all
from aily.problems import IdempotencyMismatch, Problem
from chat.models import Task

#: An owner's id, and one of that owner's idempotency keys.
OwnedKey = tuple[int, str]

# By the unique index, whose condition is named: no row of another owner is looked at.
_FIND = """
SELECT t.owner_id, t.idempotency_key, t.id, t.request_digest
  FROM unnest(%s::bigint[], %s::text[]) AS v(owner_id, key)
  JOIN chat_task t ON t.owner_id = v.owner_id AND t.idempotency_key = v.key
 WHERE t.idempotency_key IS NOT NULL
"""

#: What nobody needs who is only told of a task; it may be large.
_LARGE = ("messages", "params", "metadata", "text", "reasoning", "tool_calls", "usage", "error")


@dataclass(frozen=True, slots=True)
class Known:
    """The task that a key made, and the digest of the request it was made with."""

    task_id: UUID
    digest: str


def query(keys: Collection[OwnedKey]) -> Question:
    """What `from_rows` wants to know, to be asked together with something else."""
    return _FIND, [[owner_id for owner_id, _ in keys], [key for _, key in keys]]


def from_rows(rows: Sequence[tuple[int, str, UUID, str]]) -> dict[OwnedKey, Known]:
    """The answer to `query`: only the keys that have made a task."""
    return {(owner_id, key): Known(task_id, digest) for owner_id, key, task_id, digest in rows}


def find(keys: Collection[OwnedKey]) -> dict[OwnedKey, Known]:
    """The tasks that these keys have made, in one query; none where there are no keys."""
    return from_rows(fetch_all(*query(keys))) if keys else {}


def has_made_task(owner_id: int, key: str) -> bool:
    return bool(find([(owner_id, key)]))


def _load(known: Mapping[OwnedKey, Known]) -> dict[UUID, Task]:
    """The rows of tasks found, by id, without their large columns."""
    ids = [made.task_id for made in known.values()]
    tasks = Task.objects.filter(pk__in=ids).select_related("model").defer(*_LARGE)
    return {task.pk: task for task in tasks}


# --- Submissions --------------------------------------------------------------------------------
class Repeatable(Protocol):
    """A submission; it may have an idempotency key."""

    @property
    def owned_key(self) -> OwnedKey | None: ...

    def digest(self) -> str: ...


def reuse(
    submissions: Sequence[Repeatable], known: Mapping[OwnedKey, Known]
) -> list[Task | IdempotencyMismatch | None]:
    """For each submission the task that its key has made before, or why it may not have that."""
    if not known:
        return [None] * len(submissions)
    tasks = _load(known)

    def reuse_one(submission: Repeatable) -> Task | IdempotencyMismatch | None:
        made = known.get(submission.owned_key) if submission.owned_key else None
        if made is None:
            return None
        if made.digest != submission.digest():
            return IdempotencyMismatch(
                "This idempotency key was used with another request.", field="idempotency_key"
            )
        # Deleted meanwhile, with its conversation: this is the first of its kind again.
        return tasks.get(made.task_id)

    return [reuse_one(submission) for submission in submissions]


def reuse_refused(
    submissions: Sequence[Repeatable], outcomes: Sequence[object]
) -> list[Task | IdempotencyMismatch | None]:
    """`reuse` for those that were refused: an equal request may have come first meanwhile."""
    refused = [
        submission.owned_key
        for submission, outcome in zip(submissions, outcomes, strict=True)
        if isinstance(outcome, Problem) and submission.owned_key
    ]
    return [
        repeat if isinstance(outcome, Problem) else None
        for repeat, outcome in zip(reuse(submissions, find(refused)), outcomes, strict=True)
    ]
