"""Stage `admit`: the limits of requests a minute and of tasks at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from accounts.access.limits import count_requests
from aily.problems import RateLimited
from aily.redis.clients import is_redis_unavailable, queue_unavailable
from chat.services import limits
from chat.services.submit.pending import PendingSubmission, new_tasks, open_in


def refuse_over_rate(batch: Sequence[PendingSubmission]) -> None:
    """Count the requests, and refuse those over a limit a minute.

    While Redis is away all are refused: the counting may be the first to find out.
    """
    rates = count_requests([pending.submission.uncounted for pending in batch])
    is_away = is_redis_unavailable()
    for pending, rate in zip(batch, rates, strict=True):
        if is_away:
            pending.refuse(queue_unavailable())
        elif isinstance(rate, RateLimited):
            pending.refuse(rate)
        else:
            pending.rate = rate or pending.submission.rate


@contextmanager
def admit_tasks(batch: Sequence[PendingSubmission]) -> Iterator[None]:
    """Refuse tasks for which the queue has no room. The others are stored before this ends."""
    with limits.admitted(new_tasks(batch)) as refusals:
        if refusals:
            for pending in open_in(batch):
                if (refusal := refusals.get(pending.task.pk)) is not None:
                    pending.refuse(refusal)
        yield
