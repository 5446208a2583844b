"""Following a task while its row and its log disagree for a moment."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
from django.utils import timezone

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat import eventlog
from chat.eventlog import Append
from chat.eventlog.keys import log_key, text_channel, user_channel
from chat.events import Event, EventId, TaskCompleted, TaskDelta, TaskStarted, encode
from chat.models import Status, Task
from chat.services.follow import follow
from tests.chat.conftest import Submit, frames_of, until
from tests.client import TaskFrames

TEXT = "All of it"


def log_of(task_id: str, owner: User) -> list[Append]:
    """A started, a delta and an end."""
    events: list[tuple[Event, str]] = [
        (
            TaskStarted(task_id=task_id, id="1-1", attempt=1, model="deepseek-flash"),
            user_channel(owner.pk),
        ),
        (TaskDelta(task_id=task_id, id="1-2", text=TEXT, reasoning=""), text_channel(task_id)),
        (
            TaskCompleted(task_id=task_id, id="1-3", result={"text": TEXT}, usage={}),
            user_channel(owner.pk),
        ),
    ]
    return [
        Append(task_id, EventId.parse(event.id), encode(event), channel, create=True)
        for event, channel in events
    ]


async def commit_the_end(task_id: str, ago: timedelta = timedelta()) -> None:
    """The row as its worker leaves it, before the log has its last events."""
    ended = Task.objects.filter(pk=task_id)
    await in_database(
        ended.update,
        status=Status.SUCCEEDED,
        attempt=1,
        last_event=3,
        text=TEXT,
        finished_at=timezone.now() - ago,
    )


async def test_a_reader_that_sees_the_row_end_first_still_gets_all_of_the_log(
    submit_as_alice: Submit, alice: User, loop_services: None
) -> None:
    task_id = await submit_as_alice("Hello")
    first, *rest = log_of(task_id, alice)
    await eventlog.aappend([first])
    await commit_the_end(task_id)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await until(lambda: frames.types)
    await eventlog.aappend(rest)
    await reading
    frames.check_ids()
    assert frames.types == ["task.started", "task.delta", "task.completed"]
    assert frames.text == TEXT


async def test_a_reader_whose_log_is_gone_for_good_gets_the_text_it_lacks_from_the_row(
    submit_as_alice: Submit, alice: User, loop_services: None
) -> None:
    task_id = await submit_as_alice("Hello")
    await commit_the_end(task_id, ago=timedelta(hours=1))
    await async_redis().delete(log_key(task_id))
    from_the_start = await frames_of(task_id, alice)
    assert from_the_start.types == ["task.completed"]
    resumed = TaskFrames()
    async for followed in follow(task_id, alice.pk, EventId(1, 1)):
        resumed.add(msgspec.json.decode(followed.frame))
    assert resumed.types == ["task.snapshot", "task.completed"]
    assert resumed.text == TEXT
    seen = [followed async for followed in follow(task_id, alice.pk, EventId(1, 3))]
    assert seen == []


async def test_following_a_task_that_was_deleted_ends(
    submit_as_alice: Submit, alice: User, loop_services: None
) -> None:
    task_id = await submit_as_alice("Hello")
    first, *rest = log_of(task_id, alice)
    await eventlog.aappend([first])
    await in_database(Task.objects.filter(pk=task_id).delete)
    assert (await frames_of(task_id, alice)).types == ["task.started"]
    await eventlog.aappend(rest)
    frames = await frames_of(task_id, alice)
    assert frames.types == ["task.started", "task.delta", "task.completed"]
