"""Workers that die in the middle of a task."""

from __future__ import annotations

from uuid import UUID

from accounts.models import User
from aily.database.threads import in_database
from chat.eventlog import LogWriter
from chat.runner import lease
from tests.chat.conftest import row
from tests.chat.routes import start_own


async def crash(task_id: str, owner: User) -> UUID:
    """Start the task, log some text as its worker would, and let the worker die."""
    worker_id = await in_database(lease.register)
    model_id = (await row(task_id)).model_id
    (started,) = await in_database(start_own, worker_id, model_id, [task_id])
    writer = LogWriter(keep_seconds=60)
    log = writer.open(task_id, owner.pk, started.attempt)
    log.start("any")
    for word in ("Half ", "an ", "answer"):
        log.on_listener()
        log.write(word, "")
        await writer.flush()
    await in_database(lease.give_up, worker_id)
    return worker_id
