"""The progress of a run, for its followers: from its one row, at most twice a second."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from decimal import Decimal
from uuid import UUID

from django.utils import timezone

from aily.database.threads import in_database
from aily.problems import NotFound
from aily.rest.decimals import decimal_text
from chat.eventlog.keys import run_channel
from chat.eventlog.readers import reader_feed
from chat.events import RunProgress
from chat.exceptions import because
from chat.models import Run, RunState
from chat.models.ids import is_own
from chat.reasons import Reason
from chat.runs.kinds import kind_of

#: Between two reads of the row.
MIN_SECONDS = 0.5
#: Without notices the row is read all the same: one may be lost.
MAX_SECONDS = 5.0
#: The time over which results are averaged, as in results.py.
RATE_SECONDS = 30.0
#: From fewer results no rate is estimated.
MIN_RESULTS = 20
COUNTS = (
    *("total", "pending", "open", "succeeded", "failed", "cancelled", "expired", "invalid"),
    "skipped",
)


def load(owner_id: int, run_id: UUID, kind: str = "run") -> Run:
    """One of the owner's runs. Raises NotFound."""
    found = Run.objects.filter(pk=run_id, owner=owner_id, kind=kind) if is_own(run_id) else None
    run = found.select_related("model").first() if found is not None else None
    if run is None:
        raise because(NotFound, Reason("no_such_run"), field="run_id")
    return run


def load_watched(user_id: int, run_id: UUID) -> Run:
    """A run whose progress the user may follow: an own one, or one that its kind lets them.

    Raises NotFound.
    """
    found = Run.objects.filter(pk=run_id) if is_own(run_id) else None
    run = found.select_related("model").first() if found is not None else None
    if run is None or not (
        (run.kind == "run" and run.owner_id == user_id) or kind_of(run).may_watch(run, user_id)
    ):
        raise because(NotFound, Reason("no_such_run"), field="run_id")
    return run


def rate_of(run: Run) -> float | None:
    """Results a second of late; None while the run is not running, or too few are there."""
    if run.state != RunState.RUNNING or run.rate_at is None or run.started_at is None:
        return None
    now = timezone.now()
    faded = run.rate * math.exp(-max((now - run.rate_at).total_seconds(), 0) / RATE_SECONDS)
    # In its first seconds a run has had no time to reach its mean.
    reached = 1 - math.exp(-max((now - run.started_at).total_seconds(), 1) / RATE_SECONDS)
    return faded / reached if run.ended_rows >= MIN_RESULTS else None


def progress_of(run: Run) -> RunProgress:
    rate = rate_of(run)
    left = run.pending + run.open
    return RunProgress(
        run_id=str(run.pk),
        state=run.state,
        reason=run.reason or None,
        message=run.message or None,
        params=run.reason_params,
        counts={name: getattr(run, name) for name in COUNTS},
        cost=decimal_text(Decimal(run.cost)),
        currency=run.currency or None,
        prompt_tokens=run.prompt_tokens,
        completion_tokens=run.completion_tokens,
        rows_per_second=round(rate, 3) if rate is not None else None,
        eta_seconds=round(left / rate, 1) if rate else None,
    )


async def follow_run(user_id: int, run_id: UUID) -> AsyncGenerator[RunProgress]:
    """Give the run's progress now and whenever it has changed, until it has ended.

    Raises NotFound.
    """
    loop = asyncio.get_running_loop()
    async with reader_feed(run_channel(str(run_id)), user_id) as feed:
        last: RunProgress | None = None
        while True:
            looked_at = loop.time()
            feed.clear_lag()
            run = await in_database(load_watched, user_id, run_id)
            progress = progress_of(run)
            if progress != last:
                yield progress
                last = progress
            if RunState(run.state).is_terminal:
                return
            await feed.next(MAX_SECONDS)
            await asyncio.sleep(max(looked_at + MIN_SECONDS - loop.time(), 0))
            feed.clear()
