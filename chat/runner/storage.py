"""The worker's writes to the database: batched, and repeated until the database is back.

Only a lost lease ends the repeating: as long as nobody may take a task over, its result is ours to
store, however long that takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError

from aily.batching import Batcher, Pace
from aily.database import in_database
from chat.models import flights, transitions
from chat.models.flights import Landing
from chat.models.transitions import Ending

logger = logging.getLogger(__name__)
R = TypeVar("R")

#: Of claims and of ends. A batch costs by itself what ten items add, and nobody waits for one but
#: the next task: so they are ten times as far apart as one takes, up to 60 ms.
PACE = Pace()
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)


async def until_stored(work: Callable[[], R]) -> R:
    """Run `work` on a database thread, again and again while the database is away."""
    for attempt in range(1_000_000):
        try:
            return await in_database(work)
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database is away (%s); trying again", error)
            await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
    raise RuntimeError("unreachable")


class Endings:
    """Stores how attempts ended, those of one moment in one transaction."""

    def __init__(self, worker_id: UUID) -> None:
        self._worker_id = worker_id
        self._batcher: Batcher[Ending, Landing | None] = Batcher(self._store, pace=PACE, name="end")

    async def store(self, ending: Ending) -> Landing | None:
        """What became of the task's followers, once its end is committed.

        None when the task was no longer this attempt's to end. Raises DatabaseError when the
        database takes the ending at no time.
        """
        return await self._batcher.submit(ending)

    async def keep_partial(self, ending: Ending) -> bool:
        """Store a cancelled task's partial answer; False when it was not cancelled but lost."""
        return await until_stored(lambda: transitions.keep_partial(self._worker_id, ending))

    async def _store(self, endings: Sequence[Ending]) -> list[Landing | Exception | None]:
        try:
            changed = await until_stored(lambda: flights.end(self._worker_id, endings))
        except DatabaseError as error:
            if len(endings) == 1:
                return [error]
            # One of them holds what the database does not take: the others must not go with it.
            return [outcome for one in endings for outcome in await self._store([one])]
        return [changed.get(ending.id) for ending in endings]
