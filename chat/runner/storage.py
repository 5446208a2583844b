"""The worker's writes to the database: batched, and repeated until the database is back.

Only a lost lease ends the repeating: as long as nobody may take a task over, its result is ours to
store, however long that takes.
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
from chat.models import flights, transitions
from chat.models.flights import FlightOutcome
from chat.models.transitions import AttemptResult

logger = logging.getLogger(__name__)
R = TypeVar("R")

#: Of claims and of ends. A batch costs by itself what ten items add, and nobody waits for one but
#: the next task: so they are ten times as far apart as one takes, up to 60 ms.
PACE = Pace()
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
#: Times that a database which answers may fail to do a thing before that counts as refused: such as
#: one too large to be sent in time, or that ends its connection.
DOUBTS = 10


async def until_stored(work: Callable[[], R], *, doubts: int = DOUBTS) -> R:
    """Run `work` on a database thread, again and again while the database is away.

    Raises what else it raises, and DatabaseError where the statement is refused, or may be and is
    not done `doubts` times.
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
                doubts -= 1
                if doubts < 0:
                    raise
            logger.warning("the database is away (%s); trying again", error)
        await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
        has_answered = await is_answering()
    raise RuntimeError("unreachable")


class Endings:
    """Stores how attempts ended, those of one moment in one transaction."""

    def __init__(self, worker_id: UUID) -> None:
        self._worker_id = worker_id
        self._batcher: Batcher[AttemptResult, FlightOutcome | None] = Batcher(
            self._store, pace=PACE, name="end"
        )

    async def store(self, ending: AttemptResult) -> FlightOutcome | None:
        """What became of the task's followers, once its end is committed.

        None when the task was no longer this attempt's to end. Raises whatever keeps the ending
        from being written, but no outage.
        """
        try:
            return await self._batcher.submit(ending)
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
        # Outside of the batches: the ends of others do not wait for one that may never be taken.
        return (await until_stored(lambda: flights.end(self._worker_id, [ending]))).get(ending.id)

    async def keep_partial(self, ending: AttemptResult) -> bool:
        """Store a cancelled task's partial answer; False when it was not cancelled but lost."""
        return await until_stored(lambda: transitions.keep_partial(self._worker_id, ending))

    async def _store(
        self, endings: Sequence[AttemptResult]
    ) -> list[FlightOutcome | Exception | None]:
        # Of several, one may hold what the database does not take: the others must not go with it.
        doubts = 1 if len(endings) > 1 else 0
        try:
            work = partial(flights.end, self._worker_id, endings)
            changed = await until_stored(work, doubts=doubts)
        except Exception as error:  # noqa: BLE001 - handed to the caller, or of another's making
            if len(endings) == 1:
                return [error]
            return [outcome for ending in endings for outcome in await self._store([ending])]
        return [changed.get(ending.id) for ending in endings]
