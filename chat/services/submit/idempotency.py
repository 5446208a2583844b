"""Requests that repeat an earlier one: their answer is the task that their key has made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aily.problems import IdempotencyMismatch, Problem
from chat.services.repeats import EarlierTask, OwnedKey, find_by_key, load_tasks
from chat.services.submit.pending import PendingSubmission


def reuse_idempotent(
    batch: Iterable[PendingSubmission], earlier_tasks: Mapping[OwnedKey, EarlierTask]
) -> None:
    """Give repeated requests the task that their key has made, whatever has changed since.

    A key that was used with another request is refused.
    """
    if not earlier_tasks:
        return
    tasks = load_tasks(earlier_tasks.values())
    for pending in batch:
        key = pending.submission.owned_key
        earlier = earlier_tasks.get(key) if key else None
        if earlier is None:
            continue
        if not pending.submission.repeats(earlier.request_digest):
            pending.refuse(
                IdempotencyMismatch(
                    "This idempotency key was used with another request.", field="idempotency_key"
                )
            )
        elif (task := tasks.get(earlier.task_id)) is not None:
            pending.reuse(task)
        # Else it was deleted meanwhile, with its conversation: this is the first of its kind again.


def reuse_refused(batch: Iterable[PendingSubmission]) -> None:
    """`reuse_idempotent` for what was refused: an equal request may have come first meanwhile."""
    refused = [
        pending
        for pending in batch
        if isinstance(pending.refusal, Problem) and pending.submission.owned_key
    ]
    if not refused:
        return
    try:
        keys = [key for pending in refused if (key := pending.submission.owned_key)]
        reuse_idempotent(refused, find_by_key(keys))
    except Exception as error:  # noqa: BLE001 - handed to their callers
        # The rest of the batch may be committed. Of these it is unknown whether they were before.
        for pending in refused:
            pending.refuse(error)
