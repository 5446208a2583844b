"""Equal requests at the same moment share one call; whatever happens to it, each ends once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import NotFound
from aily.redis.clients import async_redis
from chat import scheduler, settlement
from chat.eventlog.keys import log_key
from chat.llm.simulator.call import Call
from chat.llm.simulator.server import Simulator
from chat.models import (
    Budget,
    Conversation,
    LedgerEntry,
    LLMModel,
    Message,
    Scene,
    Status,
    Task,
    flights,
    transitions,
)
from chat.models.transitions import AttemptResult
from chat.retention import purge
from chat.runner import lease, recovery
from chat.runner.runtime import Runtime
from chat.services.cancel import cancel
from chat.services.retry import retry_many
from chat.services.submit import submit, submit_many
from tests.chat.accounting.conftest import budget_of
from tests.chat.conftest import StartWorker, frames_of, row, until
from tests.chat.routes import own_route, start_own
from tests.chat.runner.crashes import crash
from tests.chat.shared_scene import answer_to, publish, resumed, submission
from tests.client import TaskFrames
from tests.locks import wait_for_a_lock

STALLS_ONCE = "[sim:tokens=30,stall=middle,times=1]"
STALLS = "[sim:tokens=30,stall=middle]"

#: Asks the scene `shared` for a user and gives the task's id; keywords are other fields.
Ask = Callable[..., Awaitable[str]]


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set it, and answers that stall go on."""
    event = asyncio.Event()

    async def stall(call: Call) -> None:
        await event.wait()

    monkeypatch.setattr(Call, "_stall", stall)
    return event


@pytest.fixture
def shared(model: LLMModel) -> Scene:
    return publish()


@pytest.fixture
def ask(shared: Scene, loop_services: None) -> Ask:
    async def ask_scene(owner: User, text: str, **fields: Any) -> str:
        return (await submit(submission(owner, text, **fields))).task_id

    return ask_scene


async def check_whole(task_ids: Sequence[str], frames: Sequence[TaskFrames], text: str) -> None:
    """Each reader got the whole answer, and its end once."""
    for task_id, stream in zip(task_ids, frames, strict=True):
        stream.check_ids()
        assert {frame["task_id"] for frame in stream.frames} == {task_id}
        assert stream.end is not None
        assert stream.end["type"] == "task.completed"
        assert stream.text == stream.end["result"]["text"] == answer_to(text)
        task = await row(task_id)
        assert (task.status, task.text) == (Status.SUCCEEDED, stream.text)
        assert stream.last_id == f"{task.attempt}-{task.last_event}"
        assert stream.end["served_from"] == task.served_from


# --- Sharing ------------------------------------------------------------------------------------
async def test_equal_requests_at_once_make_one_call_and_all_are_streamed_its_answer(
    ask: Ask,
    worker: Runtime,
    simulator: Simulator,
    go_on: asyncio.Event,
    alice: User,
    bob: User,
) -> None:
    budget = await in_database(budget_of, bob, limit_calls=100)
    text = f"What all ask {STALLS}"
    # Bob's budget would bound his answers, and so make another request of them.
    options = {"max_tokens": 1000}
    owners = [alice, bob] * 20
    task_ids = list(await asyncio.gather(*(ask(owner, text, **options) for owner in owners)))
    reading = [
        asyncio.create_task(frames_of(task_id, owner))
        for task_id, owner in zip(task_ids, owners, strict=True)
    ]
    first = TaskFrames()
    early = asyncio.create_task(frames_of(task_ids[0], owners[0], first))
    await until(lambda: first.text)
    # A reader that joins in mid-stream gets the whole text.
    task_ids.append(await ask(bob, text, **options))
    late = TaskFrames()
    reading.append(asyncio.create_task(frames_of(task_ids[-1], bob, late)))
    await until(lambda: late.text)
    go_on.set()
    await check_whole(task_ids, await asyncio.gather(*reading), text)
    await early
    assert simulator.stats.requests == 1
    tasks = [await row(task_id) for task_id in task_ids]
    await check_that_one_is_charged(tasks, budget, bob)
    follower = next(task for task in tasks if task.served_from == "flight")
    await check_replay(follower, alice if follower.owner_id == alice.pk else bob)


async def check_that_one_is_charged(tasks: list[Task], budget: Budget, owner: User) -> None:
    """Only the leader: from the budget if the task is the owner's. All have entries."""
    await in_database(settlement.settle_ended_tasks)
    used = LedgerEntry.objects.usage()
    leaders = [task for task in tasks if task.served_from == "provider"]
    assert len(leaders) == 1
    assert await in_database(used.count) == len(tasks)
    assert await in_database(used.filter(kind="settle").count) == 1
    tokens = await in_database(used.aggregate, Sum("completion_tokens"), Sum("prompt_tokens"))
    assert sum(tokens.values()) == leaders[0].usage["total_tokens"]
    period = await in_database(budget.periods.get)
    assert period.reserved_calls == 0
    assert period.spent_calls == (1 if leaders[0].owner_id == owner.pk else 0)


async def check_replay(task: Task, owner: User) -> None:
    """A task that has ended is streamed the same again, and nothing after its end."""
    again = await frames_of(str(task.pk), owner)
    assert again.text == task.text
    assert await resumed(str(task.pk), owner, again.last_id or "") == []
    [last] = await resumed(str(task.pk), owner, again.logged[-2]["id"])
    assert last == again.end


async def test_what_is_not_the_same_request_or_not_to_be_shared_has_a_call_of_its_own(
    ask: Ask, alice: User
) -> None:
    async def leader_of(text: str = "Hi", **fields: Any) -> UUID | None:
        return (await row(await ask(alice, text, **fields))).leader_id

    assert await leader_of() is None
    first = await in_database(Task.objects.get)
    assert await leader_of(metadata={"mine": 1}, deadline_seconds=60) == first.pk
    assert await leader_of("Hi!") is None
    assert await leader_of(temperature=0.5) is None
    assert await leader_of(temperature=0.5) is not None
    # An urgent task never waits for a less urgent one; the other way round it does.
    assert await leader_of("Ho", lane="batch") is None
    assert await leader_of("Ho", lane="interactive") is None
    assert await leader_of("Ho", lane="normal") is not None
    # Another version of the scene, without and with the flag.
    await in_database(publish, single_flight=False)
    assert await leader_of() is None
    assert await leader_of() is None
    await in_database(publish)
    assert await leader_of() is None
    assert await leader_of() is not None
    # Only leaders can be claimed.
    queued = await in_database(lambda: list(Task.objects.filter(status=Status.QUEUED)))
    following = [str(task.pk) for task in queued if task.leader_id]
    assert len(following) == 4
    await in_database(recovery.sweep)
    missing = await in_database(lambda: scheduler.missing(first.model.pool, following))
    assert missing == following
    worker_id = await in_database(lease.register)
    assert await in_database(start_own, worker_id, first.model_id, following) == []


async def test_a_repeated_request_is_the_follower_it_made_and_retrying_disturbs_nobody(
    ask: Ask, worker: Runtime, simulator: Simulator, go_on: asyncio.Event, alice: User
) -> None:
    text = f"Once more {STALLS}"
    leader = await ask(alice, text, key="a")
    task_ids = [await ask(alice, text, key="b") for _ in range(3)]
    assert len(set(task_ids)) == 1
    assert (await row(task_ids[0])).leader_id == UUID(leader)
    both = [leader, task_ids[0]]
    go_on.set()
    await check_whole(both, [await frames_of(task_id, alice) for task_id in both], text)
    assert simulator.stats.requests == 1
    assert await in_database(retry_many, [UUID(task_id) for task_id in both]) == 2
    anew = [
        str(pk) for pk in await in_database(list, Task.objects.values_list("pk", flat=True)[:2])
    ]
    for task_id in anew:
        await frames_of(task_id, alice)
    assert simulator.stats.requests == 3


async def test_in_a_conversation_a_shared_answer_is_kept_as_any_other(
    ask: Ask, worker: Runtime, go_on: asyncio.Event, alice: User, bob: User
) -> None:
    chats = [await in_database(Conversation.objects.create, owner=owner) for owner in (alice, bob)]
    text = f"Hello, both {STALLS}"
    leader = await ask(alice, text, conversation_id=str(chats[0].pk))
    follower = await ask(bob, text, conversation_id=str(chats[1].pk))
    assert (await row(follower)).leader_id == UUID(leader)
    go_on.set()
    await frames_of(follower, bob)
    said = Message.objects.filter(conversation=chats[1]).values_list("role", "content")
    assert await in_database(list, said) == [("user", text), ("assistant", answer_to(text))]


# --- When something happens ---------------------------------------------------------------------
async def test_a_cancelled_leader_is_succeeded_by_a_follower_and_all_others_follow_that(
    ask: Ask, worker: Runtime, simulator: Simulator, alice: User, bob: User
) -> None:
    text = f"Who leads? {STALLS_ONCE}"
    leader = await ask(alice, text)
    seen, streams = TaskFrames(), [TaskFrames() for _ in range(3)]
    leading = asyncio.create_task(frames_of(leader, alice, seen))
    followers = [await ask(bob, text) for _ in streams]
    reading = [
        asyncio.create_task(frames_of(task_id, bob, frames))
        for task_id, frames in zip(followers, streams, strict=True)
    ]
    await until(lambda: all(frames.text for frames in (seen, *streams)))
    await cancel(alice.pk, UUID(leader))
    await leading
    await asyncio.gather(*reading)
    assert seen.types[-1] == "task.cancelled"
    await check_whole(followers, streams, text)
    assert [(await row(task_id)).leader_id for task_id in followers] == [
        None, UUID(followers[0]), UUID(followers[0])
    ]  # fmt: skip
    assert simulator.stats.requests == 2
    # A reader that comes later reads of the second call alone.
    late = await frames_of(followers[2], bob)
    assert late.types[:1] == ["task.started"]
    await check_whole([followers[2]], [late], text)


async def test_a_cancelled_or_late_follower_ends_alone(
    ask: Ask,
    worker: Runtime,
    simulator: Simulator,
    go_on: asyncio.Event,
    alice: User,
    bob: User,
) -> None:
    text = f"Leave me {STALLS}"
    leader = await ask(alice, text)
    leaving, late = await ask(bob, text), await ask(bob, text, deadline_seconds=60)
    streams = {task_id: TaskFrames() for task_id in (leaving, late)}
    reading = [
        asyncio.create_task(frames_of(task_id, bob, stream)) for task_id, stream in streams.items()
    ]
    await until(lambda: all(stream.text for stream in streams.values()))
    with pytest.raises(NotFound):
        await cancel(alice.pk, UUID(leaving))
    await cancel(bob.pk, UUID(leaving))
    past = timezone.now() - timedelta(seconds=1)
    await in_database(Task.objects.filter(pk=late).update, deadline_at=past)
    await in_database(recovery.sweep)
    await asyncio.gather(*reading)
    for task_id, end in ((leaving, "task.cancelled"), (late, "task.expired")):
        stream = streams[task_id]
        stream.check_ids()
        assert (stream.types[-1], stream.last_id) == (end, "2-1")
        assert await resumed(task_id, bob, "2-1") == []
        assert (await frames_of(task_id, bob)).end == stream.end
    go_on.set()
    await check_whole([leader], [await frames_of(leader, alice)], text)
    assert simulator.stats.requests == 1


async def test_an_expired_leader_is_succeeded_as_well(
    ask: Ask, worker: Runtime, simulator: Simulator, alice: User, bob: User
) -> None:
    text = f"Take your time {STALLS_ONCE}"
    leader = await ask(alice, text, deadline_seconds=8)
    follower = await ask(bob, text)
    assert (await row(follower)).leader_id == UUID(leader)
    await check_whole([follower], [await frames_of(follower, bob)], text)
    assert (await row(leader)).status == Status.EXPIRED
    assert simulator.stats.requests == 2


async def test_a_leader_that_fails_fails_its_followers(
    ask: Ask, worker: Runtime, simulator: Simulator, alice: User, bob: User
) -> None:
    text = "Fail us all [sim:status=401,latency=0.2]"
    task_ids = await asyncio.gather(ask(alice, text), ask(alice, text), ask(bob, text))
    owners = (alice, alice, bob)
    streams = await asyncio.gather(*map(frames_of, task_ids, owners))
    errors = [stream.end["error"] for stream in streams if stream.end]
    assert [error["code"] for error in errors] == ["provider_auth"] * 3
    assert [(await row(task_id)).error for task_id in task_ids] == errors
    assert simulator.stats.requests == 1


async def test_a_leader_taken_from_a_dead_worker_keeps_its_followers(
    ask: Ask, start_worker: StartWorker, simulator: Simulator, alice: User, bob: User
) -> None:
    text = "Go on"
    leader = await ask(alice, text)
    follower = await ask(bob, text)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(follower, bob, frames))
    await crash(leader, alice)
    await until(lambda: frames.text == "Half an answer")
    await in_database(recovery.sweep)
    await start_worker()
    await reading
    assert (frames.types.count("task.started"), frames.logged[-1]["id"][:2]) == (2, "2-")
    await check_whole([follower], [frames], text)
    assert simulator.stats.requests == 1


async def test_followers_of_a_leader_that_crashed_too_often_fail_with_it(
    ask: Ask, alice: User, bob: User, settings: Settings
) -> None:
    settings.TASK_MAX_CRASHES = 0
    leader = await ask(alice, "Never")
    follower = await ask(bob, "Never")
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(follower, bob, frames))
    await crash(leader, alice)
    await until(lambda: frames.text)
    await in_database(recovery.sweep)
    await reading
    frames.check_ids()
    assert frames.end is not None
    assert (frames.end["type"], frames.end["error"]) == ("task.failed", transitions.WORKER_LOST)
    assert (await row(follower)).error == transitions.WORKER_LOST


async def test_a_log_that_redis_loses_is_made_good_to_followers_too(
    ask: Ask, worker: Runtime, go_on: asyncio.Event, alice: User, bob: User
) -> None:
    text = f"Lose it {STALLS}"
    leader = await ask(alice, text)
    follower = await ask(bob, text)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(follower, bob, frames))
    await until(lambda: frames.text)
    await async_redis().delete(log_key(leader))
    go_on.set()
    await reading
    await check_whole([follower], [frames], text)
    # Once the log has expired, the row is used.
    await async_redis().delete(log_key(leader))
    long_ago = timezone.now() - timedelta(hours=1)
    await in_database(Task.objects.update, finished_at=long_ago)
    from_row = await frames_of(follower, bob)
    assert from_row.logged == frames.logged[-1:]


# --- Races --------------------------------------------------------------------------------------
def _follower_and_leader(alice: User) -> tuple[Task, AttemptResult, UUID]:
    """A running leader, how it ends, and its worker; and a task that may follow it."""
    submit_many([submission(alice, "Race")])
    leader = Task.objects.get()
    worker_id = lease.register()
    transitions.start(worker_id, own_route(leader.model_id), [str(leader.pk)])
    result = AttemptResult(leader.pk, 1, Status.SUCCEEDED, 3, text="Done", may_lead=True)
    return leader, result, worker_id


def _in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_who_joins_while_the_leader_ends_ends_with_it(shared: Scene, alice: User) -> None:
    leader, result, worker_id = _follower_and_leader(alice)
    follower = Task(
        owner=alice, model_id=leader.model_id, messages=[], flight_key=leader.flight_key
    )
    follower.may_follow = True
    with transaction.atomic():
        flights.join([follower])
        assert follower.leader_id == leader.pk
        Task.objects.bulk_create([follower])
        thread, outcomes = _in_thread(lambda: flights.end(worker_id, [result]))
        wait_for_a_lock()
    thread.join()
    assert [ended.id for ended in outcomes[0][leader.pk].followers] == [follower.pk]
    follower.refresh_from_db()
    assert (follower.status, follower.text, follower.attempt) == (Status.SUCCEEDED, "Done", 1)


def test_who_comes_while_the_leader_is_being_ended_waits_for_nothing_and_leads(
    shared: Scene, alice: User
) -> None:
    leader, _, _ = _follower_and_leader(alice)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=leader.pk)
        thread, outcomes = _in_thread(lambda: submit_many([submission(alice, "Race")]))
        thread.join(20)
        [[accepted]] = outcomes
    assert Task.objects.get(pk=accepted.task_id).leader_id is None


def test_a_leader_that_is_started_at_this_moment_can_be_followed(
    shared: Scene, alice: User
) -> None:
    submit_many([submission(alice, "Race")])
    leader = Task.objects.get()
    worker_id = lease.register()
    with transaction.atomic():
        transitions.start(worker_id, own_route(leader.model_id), [str(leader.pk)])
        thread, outcomes = _in_thread(lambda: submit_many([submission(alice, "Race")]))
        thread.join(20)
        [[accepted]] = outcomes
    assert Task.objects.get(pk=accepted.task_id).leader_id == leader.pk


def test_old_leaders_are_purged_without_their_followers(shared: Scene, alice: User) -> None:
    submit_many([submission(alice, "Old")])
    leader = Task.objects.get()
    submit_many([submission(alice, "Old")])
    now = timezone.now()
    Task.objects.update(status=Status.SUCCEEDED, finished_at=now, needs_settling=False)
    Task.objects.exclude(pk=leader.pk).update(finished_at=now + timedelta(days=2))
    assert list(purge(now + timedelta(days=1))) == [1]
    follower = Task.objects.get()
    assert (follower.leader_id, follower.served_from) == (None, "flight")
