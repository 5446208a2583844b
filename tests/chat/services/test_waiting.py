"""Waiting for the end of a task: by its terminal event, and by its row where that was missed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from django.db import OperationalError
from pytest_django import Settings

from accounts.models import User
from aily.concurrency.signals import Signal
from aily.database.threads import in_database
from aily.problems import NotFound
from aily.redis.clients import async_redis
from aily.web.interruptions import Interruption
from aily.web.shutdown import shutdown_event
from chat import eventlog
from chat.eventlog import Append
from chat.eventlog.keys import user_channel
from chat.events import Event, EventId, TaskCompleted, TaskFailed, encode
from chat.models import Status, Task
from chat.services import waiting
from chat.services.follow.state import load_state
from chat.services.waiting import End, ends_of
from tests.chat.api.conftest import queries as queries
from tests.chat.conftest import Submit

TEXT = "All of it"


async def publish(task_id: str, owner: User, event: Event) -> None:
    append = Append(
        task_id, EventId.parse(event.id), encode(event), user_channel(owner.pk), create=True
    )
    await eventlog.aappend([append])


def completed(task_id: str, text: str = TEXT) -> TaskCompleted:
    result = {"text": text, "reasoning": "", "finish_reason": "stop", "tool_calls": []}
    return TaskCompleted(task_id=task_id, id="1-2", result=result, usage={"total_tokens": 3})


async def commit_the_end(task_id: str, text: str = TEXT) -> None:
    await in_database(
        Task.objects.filter(pk=task_id).update,
        status=Status.SUCCEEDED,
        attempt=1,
        last_event=2,
        text=text,
        finish_reason="stop",
    )


async def wait(
    owner: User,
    submit: Callable[[], Awaitable[str]],
    during: Callable[[str], Awaitable[object]],
    *,
    is_new: bool = True,
    seconds: float = 15,
) -> End | Interruption:
    """Wait for a task that is submitted meanwhile; `during` happens while that waits."""
    async with ends_of(owner.pk) as ends:
        task_id = await submit()
        waiting_ = asyncio.ensure_future(
            ends.end_of(task_id, is_new=is_new, timeout_seconds=seconds)
        )
        await asyncio.sleep(0)
        await during(task_id)
        return await waiting_


async def test_an_end_comes_from_its_event_without_a_query(
    submit_as_alice: Submit, alice: User, queries: list[str]
) -> None:
    # With its first connection the hub has all look at their rows.
    await publish_and_hear(alice)

    async def end(task_id: str) -> None:
        queries.clear()
        await publish(task_id, alice, completed(task_id))

    found = await wait(alice, lambda: submit_as_alice("Hi"), end)
    assert isinstance(found, End)
    assert isinstance(found.event, TaskCompleted)
    assert (found.event.result["text"], found.event_id) == (TEXT, EventId(1, 2))
    assert queries == []


async def test_an_end_that_comes_before_its_submit_returns_is_found(
    submit_as_alice: Submit, alice: User, queries: list[str]
) -> None:
    async def submit() -> str:
        task_id = await submit_as_alice("Hi")
        error = {"code": "internal", "message": "x"}
        await publish(task_id, alice, TaskFailed(task_id=task_id, id="1-1", error=error))
        # Another one's, after which the first has come as well.
        await publish_and_hear(alice)
        queries.clear()
        return task_id

    async def nothing(task_id: str) -> None:
        pass

    found = await wait(alice, submit, nothing)
    assert isinstance(found, End)
    assert isinstance(found.event, TaskFailed)
    assert queries == []


async def publish_and_hear(owner: User) -> None:
    """Return once the hub has routed all that was published before."""
    other = str(uuid4())
    async with eventlog.get_hub().user_feed(
        owner.pk, skip=lambda task_id: task_id != other
    ) as feed:
        await publish(other, owner, completed(other))
        async with asyncio.timeout(20):
            notice = await feed.next()
    assert notice is not None
    assert notice.task_id == other


async def test_the_whole_of_an_end_too_large_for_its_event_is_in_the_row(
    submit_as_alice: Submit, alice: User
) -> None:
    long = "x" * 300_000

    async def end(task_id: str) -> None:
        await commit_the_end(task_id, long)
        await publish(task_id, alice, completed(task_id, long))

    found = await wait(alice, lambda: submit_as_alice("Hi"), end)
    assert isinstance(found, End)
    assert isinstance(found.event, TaskCompleted)
    assert found.event.result["text"] == long


async def test_an_end_that_was_published_while_redis_was_away_is_read_from_the_row(
    submit_as_alice: Submit, alice: User
) -> None:
    async def end(task_id: str) -> None:
        await commit_the_end(task_id)
        await async_redis().client_kill_filter(_type="pubsub")

    found = await wait(alice, lambda: submit_as_alice("Hi"), end)
    assert isinstance(found, End)
    assert found.event_id == EventId(1, 2)


async def test_an_end_whose_event_was_lost_is_found_after_a_silence(
    submit_as_alice: Submit, alice: User, settings: Settings
) -> None:
    settings.POSITION_CHECK_SECONDS = 0.05
    found = await wait(alice, lambda: submit_as_alice("Hi"), commit_the_end)
    assert isinstance(found, End)


async def test_a_task_that_may_have_ended_before_is_looked_at_once(
    submit_as_alice: Submit, alice: User
) -> None:
    async def submit() -> str:
        task_id = await submit_as_alice("Hi")
        await commit_the_end(task_id)
        return task_id

    async def nothing(task_id: str) -> None:
        pass

    assert isinstance(await wait(alice, submit, nothing, is_new=False), End)


async def test_an_outage_of_the_database_prolongs_the_waiting(
    submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "AWAY_SECONDS", 0.01)
    failures = iter([1, 2])

    async def fail_twice(task_id: str) -> object:
        if next(failures, None):
            raise OperationalError("server closed the connection unexpectedly")
        return await load_state(task_id)

    monkeypatch.setattr(waiting, "load_state", fail_twice)
    found = await wait(alice, lambda: submit_as_alice("Hi"), commit_the_end, is_new=False)
    assert isinstance(found, End)


async def test_a_task_that_is_deleted_meanwhile_is_not_there(
    submit_as_alice: Submit, alice: User, settings: Settings
) -> None:
    settings.POSITION_CHECK_SECONDS = 0.05

    async def delete(task_id: str) -> None:
        await in_database(Task.objects.filter(pk=task_id).delete)

    with pytest.raises(NotFound):
        await wait(alice, lambda: submit_as_alice("Hi"), delete)


async def test_the_time_is_over(submit_as_alice: Submit, alice: User) -> None:
    async def nothing(task_id: str) -> None:
        pass

    found = await wait(alice, lambda: submit_as_alice("Hi"), nothing, seconds=0.02)
    assert found is Interruption.TIMED_OUT


@pytest.mark.parametrize("reason", [Interruption.ACCESS_LOST, Interruption.SHUTDOWN])
@pytest.mark.parametrize("is_before", [True, False])
async def test_a_signal_ends_the_waiting(
    submit_as_alice: Submit, alice: User, reason: Interruption, is_before: bool
) -> None:
    signals = {Interruption.ACCESS_LOST: Signal()}
    signal = signals.get(reason, shutdown_event())
    task_id = await submit_as_alice("Hi")
    async with ends_of(alice.pk) as ends:
        if is_before:
            signal.set()
        ending = asyncio.ensure_future(
            ends.end_of(task_id, is_new=True, timeout_seconds=15, interruptions=signals)
        )
        await asyncio.sleep(0)
        signal.set()
        async with asyncio.timeout(20):
            assert await ending is reason
