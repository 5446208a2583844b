"""Submitting tasks: from a valid request to a committed row, a place in the queue and a ring.

Submits that arrive together form a batch: they share look-ups, one transaction and one Redis round
trip. `submit_many` takes a batch through the stages, each of which is a module:

    resolve   look up what the requests name; a repeated request gets its earlier task
    build     render the prompts and make the rows
    admit     refuse tasks for which the queue has no room
    store     reserve budgets and insert the rows; once committed, a task is accepted
    enqueue   make the tasks ready and ring the workers
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from aily.concurrency.batching import Batcher, Pace
from aily.concurrency.loops import per_loop
from aily.database.errors import is_outage
from aily.database.outages import require_disk_room
from aily.database.threads import in_database
from aily.observability import tracing
from aily.problems import Conflict, Unavailable
from aily.redis.clients import require_redis
from chat.exceptions import because
from chat.reasons import Reason
from chat.services.messages import length_of
from chat.services.output_formats import NeedsSchemaCheckError
from chat.services.rendering import check_schema_apart, render_apart
from chat.services.submission import CompositeRequest, TaskRequest
from chat.services.submit.admit import admit_tasks, refuse_over_rate
from chat.services.submit.build import build_tasks
from chat.services.submit.enqueue import enqueue_tasks
from chat.services.submit.idempotency import reuse_refused
from chat.services.submit.pending import (
    Accepted,
    NeedsRenderingError,
    PendingSubmission,
    ResponseDraft,
    Submission,
    open_in,
    rate_in_refusals,
)
from chat.services.submit.resolve import resolve_names
from chat.services.submit.store import store_tasks

__all__ = [
    "Accepted",
    "NeedsRenderingError",
    "ResponseDraft",
    "Submission",
    "submit",
    "submit_many",
]

logger = logging.getLogger(__name__)

#: Callers wait for a submit, unlike for a claim or an end: its batches are less far apart.
_PACE = Pace(max_seconds=0.04)
#: Of a process with fewer submits a second.
_FEW_SUBMITS = 120
_QUICK_PACE = Pace(
    min_seconds=0.012, max_seconds=0.015, gather_seconds=0.005, gather_max_seconds=0.02
)
#: Submissions with large prompts in one batch: as JSON it is one value of PostgreSQL, which has
#: at most 1 GiB.
_MAX_LARGE = 4
_LARGE_BYTES = 65_536
#: How often a submission may need work apart: its schema is checked once, and a scene may get
#: another version while its prompt is being rendered.
_MAX_RENDERINGS = 4


async def submit(submission: Submission) -> Accepted:
    """Accept one task. Raises Problem; then nothing was stored.

    If Redis goes away between the check and the queueing, the task is accepted all the same, and
    the sweep queues it.
    """
    require_disk_room()
    try:
        await require_redis()
    except Unavailable:
        if submission.idempotency_key is None:
            raise
    with tracing.span("submit", kind="producer"):
        if tracing.is_on():
            submission = replace(submission, traceparent=tracing.traceparent())
        accepted = await _submit_rendered(submission)
    logger.debug("accepted", extra={"task_id": accepted.task_id})
    return accepted


async def _submit_rendered(submission: Submission) -> Accepted:
    """A prompt that is much work is rendered, and a large schema checked, between two batches, so
    that none waits for it."""
    batcher = _large_batcher() if _is_large(submission.request) else _batcher()
    for _ in range(_MAX_RENDERINGS):
        try:
            return await batcher.submit(submission)
        except NeedsRenderingError as needed:
            variables = submission.request.variables
            with rate_in_refusals(needed.rate):
                rendered = await render_apart(needed.version, variables, submission.owner_id)
            submission = replace(submission, rendered=rendered, uncounted=None, rate=needed.rate)
        except NeedsSchemaCheckError as needed:
            with rate_in_refusals(needed.rate):
                await check_schema_apart(needed.schema, submission.owner_id)
            submission = replace(submission, uncounted=None, rate=needed.rate)
    raise because(Conflict, Reason("scene_changing"), field="scene")


def _is_large(request: TaskRequest) -> bool:
    messages = isinstance(request, CompositeRequest) and request.messages
    return bool(messages and length_of(messages) > _LARGE_BYTES)


@per_loop
def _large_batcher() -> Batcher[Submission, Accepted]:
    """Of submissions with large prompts, each of which takes as long as hundreds of others: these
    do not wait for them."""
    return Batcher(_handle, max_size=_MAX_LARGE, max_batches=2, name="submit_large")


@per_loop
def _batcher() -> Batcher[Submission, Accepted]:
    return Batcher(_handle, max_batches=2, pace=_pace, name="submit")


async def _handle(submissions: list[Submission]) -> Sequence[Accepted | Exception]:
    return await in_database(submit_many, submissions)


def _pace(submits_per_second: float) -> Pace:
    return _QUICK_PACE if submits_per_second < _FEW_SUBMITS else _PACE


def submit_many(submissions: Sequence[Submission]) -> list[Accepted | Exception]:
    """Accept what can be accepted; each submission gets its Accepted, or the reason against it.

    Raises django.db.Error if the database is away; then nothing was accepted.
    """
    batch = [PendingSubmission(submission) for submission in submissions]
    refuse_over_rate(batch)
    try:
        _accept(open_in(batch))
    except Exception as error:
        if is_outage(error):
            raise
        _accept_one_by_one(open_in(batch))
    # An equal request may have come first, and have used up the limit: its task is the answer.
    reuse_refused(batch)
    # From here on they are accepted, whatever breaks.
    enqueue_tasks(batch)
    return [pending.outcome() for pending in batch]


def _accept(batch: Sequence[PendingSubmission]) -> None:
    """From requests to committed rows. Nothing was stored if this raises."""
    if not batch:
        return
    budgets = resolve_names(batch)
    build_tasks(batch)
    with admit_tasks(batch):
        store_tasks(batch, budgets)


def _accept_one_by_one(batch: Sequence[PendingSubmission]) -> None:
    """`_accept`, where PostgreSQL has refused the batch for one submission: only that one fails."""
    for pending in batch:
        try:
            _accept([pending])
        except Exception as error:
            logger.exception("a submission failed")
            pending.refuse(error)
