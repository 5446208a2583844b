"""Whatever is raised in one step, no row and no loop is left behind: the task ends, and the next
one runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pkgutil import resolve_name
from typing import Any, cast
from uuid import UUID

import pytest
from django.db import DataError, OperationalError, connection
from prometheus_client import REGISTRY
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis, sync_redis
from chat import scheduler
from chat.eventlog import aappend
from chat.eventlog import writer as event_log
from chat.eventlog.keys import text_channel, user_channel, worker_channel
from chat.models import LLMModel, Status, Task, transitions
from chat.models.task_states import ACTIVE
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.scheduler.keys import deployment_keys, pool_keys
from chat.services.cancel import cancel
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until
from tests.client import TaskFrames
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def _short_waits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.TASK_RETRY_SECONDS = 0.02
    # The lease is never over on a busy machine; rows are compared with calls with each renewal.
    settings.WORKER_LEASE_SECONDS = 20
    monkeypatch.setattr("chat.runner.runtime.RENEWALS", 40)
    monkeypatch.setattr("aily.concurrency.faults.PAUSE_SECONDS", 0.05)


def faults() -> float:
    """How many were survived so far, by the metric."""
    metrics = [metric for metric in REGISTRY.collect() if metric.name == "aily_faults"]
    return sum(
        s.value for metric in metrics for s in metric.samples if s.name == "aily_faults_total"
    )


class Breaks:
    """Stands for a function: raises the first `times` times, then does what that does."""

    def __init__(self, original: Callable[..., Any], error: BaseException, times: int = 1) -> None:
        self._original, self._error, self._left = original, error, times
        self.raised = 0

    def has_raised(self) -> bool:
        return self.raised > 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._left:
            self._left -= 1
            self.raised += 1
            raise self._error.with_traceback(None)
        return self._original(*args, **kwargs)


#: What a task passes on its way, by the name under which it is looked up.
STEPS = [
    "chat.scheduler.claim",
    "chat.models.transitions.start",
    "chat.runner.claims.observe_start",
    "chat.runner.calls.Call",
    "chat.runner.calls.trace_wait",
    "chat.runner.calls.trace_call",
    "chat.runner.call.ChatRequest",
    "chat.llm.client.ProviderClient.ask",
    "chat.runner.calls.observe_call",
    "chat.runner.finish.Finisher.finish",
    "chat.runner.finish.next_step",
    "chat.runner.finish.attempt_result",
    "chat.models.flights.end",
    "chat.runner.finish.Finisher._publish",
    "chat.eventlog.task_log.TaskLog.start",
    "chat.eventlog.task_log.TaskLog.write",
    "chat.eventlog.task_log.TaskLog.flush_text",
    "chat.eventlog.task_log.TaskLog.end",
    "chat.eventlog.writer.aappend",
    "chat.runner.lease.renew",
    "chat.runner.lease.taken_away",
    "chat.runner.lease.stranded",
    "chat.scheduler.renew_worker",
    "chat.scheduler.restore_slots",
    "chat.scheduler.unknown_slots",
    "chat.runner.runtime.load_pools",
]


def break_once(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> Breaks:
    owner, _, name = step.rpartition(".")
    place = resolve_name(owner)
    original = getattr(place, name)
    broken = Breaks(original, error)
    # A function, so that it is bound to an instance like the original.
    monkeypatch.setattr(place, name, lambda *args, **kwargs: broken(*args, **kwargs))
    return broken


async def ends(task_id: str) -> Task:
    """The row once it has ended; sweeps meanwhile, as the scheduler would ring for."""

    async def ended() -> Task | None:
        task = await row(task_id)
        if task.status not in ACTIVE:
            return task
        await in_database(recovery.sweep)
        return None

    task = await eventually(ended)
    assert task is not None
    return task


async def test_an_exception_in_a_step_strands_no_row_and_no_loop(
    worker: Runtime, submit_as_alice: Submit, subtests: pytest.Subtests
) -> None:
    """All steps with one worker: what one of them leaves behind is in the way of the next."""
    for step in STEPS:
        with subtests.test(step=step), pytest.MonkeyPatch.context() as monkeypatch:
            broken = break_once(monkeypatch, step, AttributeError("no 'read_response'"))
            # Long enough to be counted, so that its lease is said again.
            seconds = 0.6 if step == "chat.scheduler.restore_slots" else 0
            first = await ends(await submit_as_alice(f"First [sim:latency={seconds},tokens=3]"))
            await until(broken.has_raised)
            second = await ends(await submit_as_alice("Second [sim:tokens=3]"))
            assert first.status == Status.SUCCEEDED or first.error == transitions.INTERNAL
            assert second.status == Status.SUCCEEDED
            await until(lambda: not worker.calls.by_task)
            assert not worker.calls.starting


async def test_a_worker_that_could_not_listen_tries_again(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = break_once(monkeypatch, "chat.runner.runtime.listen", AttributeError("no 'connect'"))
    worker = await start_worker()
    await until(lambda: broken.raised)
    channel, redis = worker_channel(worker.worker_id), cast("Any", sync_redis())
    await until(lambda: redis.pubsub_numsub(channel)[0][1] == 1)


async def test_what_is_survived_is_counted_and_logged(
    worker: Runtime,
    submit_as_alice: Submit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = faults()
    break_once(monkeypatch, "chat.scheduler.claim", AttributeError("from redis-py"))
    await ends(await submit_as_alice("Hello"))
    assert faults() > before
    assert "AttributeError: from redis-py" in caplog.text


async def test_a_claim_loop_that_was_cancelled_by_a_fault_goes_on(
    worker: Runtime, submit_as_alice: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CancelledError out of a future that another coroutine has cancelled ends no loop."""
    break_once(monkeypatch, "chat.scheduler.claim", asyncio.CancelledError())
    assert (await ends(await submit_as_alice("Hello"))).status == Status.SUCCEEDED


async def test_every_model_is_claimed_again_after_redis_broke_off_all_claims(
    start_worker: StartWorker,
    submit_as_alice: Submit,
    model: LLMModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"model-{number}" for number in range(8)]
    await in_database(
        LLMModel.objects.bulk_create,
        [LLMModel(provider=model.provider, name=name) for name in names],
    )
    await start_worker()
    broken = Breaks(scheduler.claim, AttributeError("no connection"), times=24)
    monkeypatch.setattr(scheduler, "claim", broken)
    await until(lambda: broken.raised == 24)
    task_ids = [await submit_as_alice("Hello [sim:tokens=2]", model=name) for name in names]
    tasks = [await ends(task_id) for task_id in task_ids]
    assert {task.status for task in tasks} == {Status.SUCCEEDED}


async def test_what_was_committed_is_accepted_whatever_breaks_then(
    submit_as_alice: Submit, model: LLMModel
) -> None:
    for step in (
        "chat.scheduler.enqueue",
        "chat.actors.ring",
        "chat.observability.metrics.count_submitted",
    ):
        keys = pool_keys(model.pool)
        sync_redis().delete(keys.rung, keys.messaged)
        with pytest.MonkeyPatch.context() as monkeypatch:
            broken = break_once(monkeypatch, step, AttributeError("broken"))
            task_id = await submit_as_alice("Hello")
        assert broken.raised, step
        await in_database(recovery.sweep)
        assert await in_database(scheduler.missing, model.pool, [task_id]) == [], step


async def test_a_task_is_cancelled_whatever_breaks_once_its_row_says_so(
    submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await submit_as_alice("Hello")
    break_once(monkeypatch, "chat.scheduler.remove", AttributeError("broken"))
    assert (await cancel(alice.pk, UUID(task_id))).status == Status.CANCELLED


# --- Rows and slots without a call ----------------------------------------------------------------
async def test_a_row_that_runs_without_a_call_is_found_and_run(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    """By a living worker, as an answer of PostgreSQL that was lost may leave it."""
    task_id = await submit_as_alice("Hello [sim:tokens=3]", deadline_seconds=600)
    await ends(task_id)
    running = {
        "status": Status.RUNNING,
        "worker_id": worker.worker_id,
        "attempt": 7,
        "finished_at": None,
    }
    await in_database(Task.objects.filter(pk=task_id).update, **running)
    task = await ends(task_id)
    assert (task.status, task.attempt, task.crashes) == (Status.SUCCEEDED, 8, 1)


async def test_calls_that_run_are_left_alone_however_often_rows_are_compared(
    worker: Runtime, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("Long [sim:stall=middle,stall_seconds=1.5,tokens=4]")
    await until(lambda: worker.calls.by_task)
    for _ in range(5):
        await worker.give_back()
    task = await ends(task_id)
    assert (task.status, task.attempt, task.crashes) == (Status.SUCCEEDED, 1, 0)


async def test_a_task_that_is_being_started_is_not_taken_for_a_stranded_one(
    worker: Runtime, submit_as_alice: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are compared between the commit of the start and its answer."""
    loop = asyncio.get_running_loop()
    start = transitions.start

    def slow(*args: Any) -> Any:
        started = start(*args)
        asyncio.run_coroutine_threadsafe(worker.give_back(), loop).result(10)
        return started

    monkeypatch.setattr(transitions, "start", slow)
    task = await ends(await submit_as_alice("Hello"))
    assert (task.status, task.attempt, task.crashes) == (Status.SUCCEEDED, 1, 0)


async def test_a_row_that_is_always_left_behind_fails_in_the_end(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.TASK_MAX_CRASHES = 1

    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("chat.runner.calls.Call", broken)
    task_id = await submit_as_alice("Hello")
    task = await ends(task_id)
    assert (task.status, task.error) == (Status.FAILED, transitions.INTERNAL)
    frames = await frames_of(task_id, alice)
    assert frames.end is not None
    assert frames.end["error"] == transitions.INTERNAL


async def test_slots_of_a_claim_whose_reply_was_lost_are_given_back(
    worker: Runtime, submit_as_alice: Submit, model: LLMModel
) -> None:
    await in_database(LLMModel.objects.update, max_concurrency=1)
    await worker.reload_pools()
    lost = deployment_keys(model.own_key).slots(worker.worker_id)
    await async_redis().sadd(lost, "a-task-without-a-call")  # type: ignore[misc]
    assert (await ends(await submit_as_alice("Hello"))).status == Status.SUCCEEDED


# --- Poisoned rows --------------------------------------------------------------------------------
POISON: dict[str, dict[str, Any]] = {
    "parameters that are none": {"params": ["not", "an", "object"]},
    "parameters that no JSON can say": {"params": {"n": 10**400}},
    "a weight of zero": {"weight": 0},
    "an endless weight": {"weight": float("inf")},
    "a lane that there is not": {"lane": 7},
    "a fallback that is gone": {"fallbacks": [999_999_999]},
}


async def test_poisoned_rows_end_and_harm_no_other(
    start_worker: StartWorker, submit_as_alice: Submit, model: LLMModel
) -> None:
    bad = {name: await submit_as_alice(f"{name} [sim:status=402]") for name in POISON}
    good = await submit_as_alice("Good")
    for name, poison in POISON.items():
        await in_database(Task.objects.filter(pk=bad[name]).update, **poison)
    # As after a loss of Redis: the sweep makes all of them ready.
    await in_database(scheduler.remove, model.pool, [*bad.values(), good])
    await in_database(recovery.sweep)
    await start_worker()
    assert (await ends(good)).status == Status.SUCCEEDED
    tasks = {name: await ends(task_id) for name, task_id in bad.items()}
    codes = {name: (task.error or {}).get("code") for name, task in tasks.items()}
    refused = dict.fromkeys(POISON, "provider_balance")
    broken = ("parameters that are none", "a fallback that is gone")
    assert codes == {**refused, **dict.fromkeys(broken, "internal")}


@pytest.fixture
def refused_start(transactional_db: None) -> Iterator[None]:
    """A trigger that refuses to start tasks whose metadata say so: whatever is wrong with them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.status = 'running' AND NEW.metadata ? 'poison' THEN "
            "RAISE EXCEPTION 'too large' USING ERRCODE = '54000'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse_poison BEFORE UPDATE ON chat_task "
            "FOR EACH ROW EXECUTE FUNCTION refuse_poison()"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION refuse_poison CASCADE")


async def test_a_row_that_can_never_be_started_fails_and_those_claimed_with_it_run(
    refused_start: None, start_worker: StartWorker, submit_as_alice: Submit, alice: User
) -> None:
    bad = await submit_as_alice("Bad", metadata={"poison": "yes"})
    good = [await submit_as_alice(f"Good {number}") for number in range(5)]
    await start_worker()
    assert {(await ends(task_id)).status for task_id in good} == {Status.SUCCEEDED}
    assert (await ends(bad)).error == transitions.INTERNAL
    assert (await frames_of(bad, alice)).types == ["task.failed"]


# --- The event log ----------------------------------------------------------------------------
async def test_a_log_that_redis_refuses_keeps_no_other_back(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "MAX_INTERVAL_SECONDS", 0.05)

    async def picky(appends: Any, *args: Any) -> Any:
        if any(b"poison" in append.frame for append in appends):
            raise ValueError("this one is not taken")
        return await aappend(appends, *args)

    monkeypatch.setattr(event_log, "aappend", picky)
    bad = await submit_as_alice("Bad", model="deepseek-flash")
    monkeypatch.setattr(worker.pools.of_model((await row(bad)).model_id), "model", "poison")
    poisoned = await submit_as_alice("Say poison [sim:tokens=3]")
    monkeypatch.setattr(worker.pools.of_model((await row(bad)).model_id), "model", "deepseek-flash")
    await ends(poisoned)
    good = await submit_as_alice("Good [sim:tokens=3]")
    frames = await frames_of(good, alice)
    assert frames.types[0] == "task.started"
    assert frames.types[-1] == "task.completed"
    # Followers of the tasks whose log is not taken read the end from the row.
    assert (await frames_of(poisoned, alice)).types[-1] == "task.completed"


async def test_messages_that_cannot_be_read_end_no_listener(
    worker: Runtime, submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    task_id = await submit_as_alice("Long [sim:stall=middle,stall_seconds=1,tokens=10]")
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await until(lambda: frames.text)
    for channel in (
        user_channel(alice.pk),
        text_channel(task_id),
        scheduler.DOORBELL,
        worker_channel(worker.worker_id),
    ):
        await async_redis().publish(channel, b"\xff no text")
    assert (await reading).types[-1] == "task.completed"
    after = await submit_as_alice("After [sim:tokens=3]")
    assert (await frames_of(after, alice)).types[-1] == "task.completed"


# --- The sweep ----------------------------------------------------------------------------------
STEPS_OF_A_SWEEP = [
    "chat.runner.lease.can_detect_dead_workers",
    "chat.models.transitions.recover",
    "chat.models.flights.expire",
    "chat.scheduler.blocks",
    "chat.models.flights.end_stranded",
]


async def test_a_step_of_the_sweep_that_breaks_keeps_no_other_from_being_done(
    submit_as_alice: Submit, model: LLMModel
) -> None:
    task_id = await submit_as_alice("Hello")
    for step in STEPS_OF_A_SWEEP:
        await in_database(scheduler.remove, model.pool, [task_id])
        with pytest.MonkeyPatch.context() as monkeypatch:
            broken = break_once(monkeypatch, step, AttributeError("broken"))
            assert await in_database(recovery.sweep) == {model.pool}, step
        assert broken.raised, step
        assert await in_database(scheduler.missing, model.pool, [task_id]) == [], step


async def test_an_outage_ends_the_sweep_at_once(
    submit_as_alice: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_once(monkeypatch, "chat.models.transitions.recover", DataError("refused"))
    await in_database(recovery.sweep)
    break_once(monkeypatch, "chat.models.transitions.recover", OperationalError("away"))
    with pytest.raises(OperationalError):
        await in_database(recovery.sweep)
