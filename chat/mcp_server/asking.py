"""Calls whose task asks its user (`input_required`, since 2026-07-28): the client asks, and calls
once more with the answers. No connection waits meanwhile.

The state that goes back and forth is the task's id, signed: any process may go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

from django.core import signing

from aily.concurrency.faults import surviving
from aily.concurrency.signals import Signal
from chat.mcp_server.approvals import questions_of
from chat.mcp_server.errors import INVALID_PARAMS, RPCError
from chat.mcp_server.results import TASK_ID_META, Result
from chat.services.follow import follow
from chat.services.submit import Accepted

_SALT = "chat.mcp_server.state"


@asynccontextmanager
async def question_signal(owner_id: int, accepted: Accepted) -> AsyncIterator[Signal]:
    """A signal that is set once the task waits for its user."""
    asked = Signal()
    job = asyncio.create_task(_watch(owner_id, accepted, asked))
    try:
        yield asked
    finally:
        job.cancel()
        await asyncio.wait([job])


async def _watch(owner_id: int, accepted: Accepted, asked: Signal) -> None:
    with surviving("waiting for questions of a task"):
        frames = follow(accepted.task_id, owner_id, is_new=accepted.waits_alone)
        async with aclosing(frames):
            async for frame in frames:
                if frame.type != "task.requires_action":
                    continue
                # A log that is read from its beginning has what was answered long ago as well.
                if await questions_of(UUID(accepted.task_id)):
                    asked.set()
                    return


async def asking_result(tool: str, task_id: str) -> Result:
    """What a task asks its user, for a client that asks. Answers to it come with the state."""
    return {
        "resultType": "input_required",
        "inputRequests": await questions_of(UUID(task_id)),
        "requestState": signing.dumps([tool, task_id], salt=_SALT),
        "_meta": {TASK_ID_META: task_id},
    }


def task_of_state(tool: str, state: str) -> UUID:
    """The task that a call goes on with. Raises RPCError for a state that is not of this tool."""
    try:
        named, task_id = signing.loads(state, salt=_SALT)
    except (signing.BadSignature, ValueError):
        named = task_id = ""
    if named != tool:
        raise RPCError(INVALID_PARAMS, "This requestState is none of this tool's.")
    return UUID(task_id)
