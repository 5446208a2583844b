"""How far an import is, for those who watch: from its one row, at most twice a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from accounts.models import User
from aily.database.threads import in_database
from chat.eventlog import get_hub
from chat.eventlog.keys import run_channel
from chat.frames import ImportSubscribe
from chat.tables.frames import ImportProgress
from chat.tables.imports.control import load
from chat.tables.models import Import
from chat.tables.models.transfers import ENDED_TRANSFERS

#: Between two looks at the row.
MIN_SECONDS = 0.5
#: Without news the row is looked at all the same: a notice may be lost.
MAX_SECONDS = 5.0


def progress_of(job: Import) -> ImportProgress:
    return ImportProgress(
        import_id=str(job.pk),
        table=job.table_id,
        state=job.state,
        reason=job.reason or None,
        message=job.message or None,
        total=job.total,
        done=job.done,
        created_rows=job.created_rows,
        updated_rows=job.updated_rows,
        skipped_rows=job.skipped_rows,
        bad_rows=job.bad_rows,
    )


async def follow(user: User, frame: ImportSubscribe) -> AsyncGenerator[ImportProgress]:
    """Give the import's progress now and whenever it has changed, until it has ended.

    Raises NotFound.
    """
    loop = asyncio.get_running_loop()
    async with get_hub().change_feed(run_channel(str(frame.import_id))) as feed:
        last: ImportProgress | None = None
        while True:
            looked_at = loop.time()
            feed.clear_lag()
            job = await in_database(load, user.pk, frame.import_id)
            progress = progress_of(job)
            if progress != last:
                yield progress
                last = progress
            if job.state in ENDED_TRANSFERS:
                return
            await feed.next(MAX_SECONDS)
            await asyncio.sleep(max(looked_at + MIN_SECONDS - loop.time(), 0))
            feed.clear()
