"""The worker's writes to the database: batched, and repeated until the database is back.

Only a lost lease ends the repeating: while no other worker may take a task over, its result is this
worker's to store, however long that takes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from aily.concurrency.batching import Batcher, Pace
from aily.database.errors import is_answering, is_outage, may_be_refused
from aily.database.threads import in_database
from chat.models import Lane, flights, transitions
from chat.models.flights import FlightOutcome
from chat.models.transitions import AttemptResult

logger = logging.getLogger(__name__)
R = TypeVar("R")

#: The pace of claims and of ends. A batch costs by itself what ten items add, and only the next
#: task waits for one: so they are twenty times as far apart as one takes, up to 60 ms.
PACE = Pace()
#: Of ends, where a worker has fewer of them a second.
FEW_ENDS = 120
QUICK_PACE = Pace(
    min_seconds=0.01, max_seconds=0.012, gather_seconds=0.008, gather_max_seconds=0.025
)
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
#: Failures of a statement while the database answers others, after which it counts as refused: it
#: may be too large to be sent in time, or end its connection.
MAX_AMBIGUOUS_FAILURES = 10


async def retry_until_database_returns(
    work: Callable[[], R], *, max_failures: int = MAX_AMBIGUOUS_FAILURES
) -> R:
    """Run `work` on a database thread, again and again while the database is away.

    Raises what else it raises, and DatabaseError where the statement is refused, or failed
    `max_failures` times in a way that may be its own fault.
    """
    has_answered = True
    for attempt in itertools.count():
        try:
            if attempt == 0 or has_answered:
                return await in_database(work)
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
            if may_be_refused(error) and has_answered:
                max_failures -= 1
                if max_failures < 0:
                    raise
            logger.warning("the database is away (%s); trying again", error)
        await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
        has_answered = await is_answering()
    raise RuntimeError("unreachable")


class ResultStore:
    """Stores how attempts ended, those of one moment in one transaction.

    Tasks of lane batch have batches of their own: hundreds of ends make a batch take long, and
    people would wait for it.
    """

    def __init__(self, worker_id: UUID) -> None:
        self._worker_id = worker_id
        self._batcher = self._new_batcher()
        self._bulk_batcher = self._new_batcher()

    def _new_batcher(self) -> Batcher[AttemptResult, FlightOutcome | None]:
        return Batcher(self._store, pace=_pace, name="end")

    async def store(
        self, result: AttemptResult, lane: int = Lane.INTERACTIVE
    ) -> FlightOutcome | None:
        """Return what became of the task's followers, once its end is committed.

        None when the task was no longer this attempt's to end. Raises what keeps the result from
        being written, but no outage.
        """
        try:
            batcher = self._bulk_batcher if lane == Lane.BATCH else self._batcher
            return await batcher.submit(result)
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
        # Outside of the batches: other results do not wait for one that may never be taken.
        outcomes = await retry_until_database_returns(
            lambda: flights.end(self._worker_id, [result])
        )
        return outcomes.get(result.id)

    async def keep_partial(self, result: AttemptResult) -> bool:
        """Store a cancelled task's partial answer; False when it was not cancelled but lost."""
        return await retry_until_database_returns(
            lambda: transitions.keep_partial(self._worker_id, result)
        )

    async def _store(
        self, results: Sequence[AttemptResult]
    ) -> list[FlightOutcome | Exception | None]:
        # One of several may have what the database refuses: the others are stored without it.
        max_failures = 1 if len(results) > 1 else 0
        try:
            work = partial(flights.end, self._worker_id, results)
            outcomes = await retry_until_database_returns(work, max_failures=max_failures)
        except Exception as error:  # noqa: BLE001 - handed to the caller, or of another's making
            if len(results) == 1:
                return [error]
            return [outcome for result in results for outcome in await self._store([result])]
        return [outcomes.get(result.id) for result in results]


def _pace(ends_per_second: float) -> Pace:
    return QUICK_PACE if ends_per_second < FEW_ENDS else PACE
