"""Workers that stop, die, are full or at the provider's cap; each test runs workers of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from chat.llm.simulator.answers import simulated_answer
from tests.client import ChatSocket, RestClient
from tests.stack import Stack, StackProcess
from tests.waiting import eventually

StartWorker = Callable[..., StackProcess]
#: Half of the answer, and then nothing; the second time, all of it.
STALLS_ONCE = "[sim:latency=0,tokens=60,tps=0,stall=middle,times=1]"


def text_of(prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    return simulated_answer({"model": "deepseek-flash", "messages": messages}).text


@pytest.fixture(scope="module")
def usual_worker(stack: Stack) -> Iterator[StackProcess]:
    """The shared one, which rests meanwhile."""
    usual = stack.processes["worker-0"]
    usual.stop()
    yield usual
    usual.start()


@pytest.fixture
def start_worker(usual_worker: StackProcess) -> Iterator[StartWorker]:
    """Starts workers with settings of their own."""
    own: list[StackProcess] = []

    def start(**environment: str) -> StackProcess:
        name = f"own-worker-{len(own)}"
        worker = replace(
            usual_worker,
            environment={**usual_worker.environment, **environment},
            log_file=usual_worker.log_file.with_name(f"{name}.log"),
        )
        worker.start()
        own.append(worker)
        return worker

    yield start
    for worker in own:
        worker.kill_group()


async def test_a_worker_told_to_stop_hands_back_what_does_not_end_in_time(
    start_worker: StartWorker, socket: ChatSocket, rest: RestClient
) -> None:
    stopping = start_worker(WORKER_GRACE_SECONDS="4")
    prompt = f"Hand me over {STALLS_ONCE}"
    task_id = await socket.submit(prompt)
    in_time = await socket.submit("I end in time [sim:latency=0.5,tokens=8,tps=0]")
    await socket.got(task_id, "task.delta")
    await socket.got(in_time, "task.started")
    start_worker()
    await asyncio.to_thread(stopping.stop)
    frames = await socket.ended(task_id)
    frames.check_ids()
    assert frames.text == text_of(prompt)
    task = await rest.task(task_id)
    assert (task["status"], task["attempt"]) == ("succeeded", 2)
    assert task["result"]["text"] == frames.text
    assert (await rest.task(in_time))["attempt"] == 1


async def test_the_tasks_of_a_killed_worker_are_run_again_when_its_lease_is_over(
    start_worker: StartWorker, socket: ChatSocket, rest: RestClient
) -> None:
    killed = start_worker(WORKER_LEASE_SECONDS="4")
    prompts = [f"Survive {number} {STALLS_ONCE}" for number in range(5)]
    task_ids = await asyncio.gather(*map(socket.submit, prompts))
    for task_id in task_ids:
        await socket.got(task_id, "task.delta")
    killed.kill_group()
    start_worker()
    for prompt, task_id in zip(prompts, task_ids, strict=True):
        frames = await socket.ended(task_id)
        frames.check_ids()
        task = await rest.task(task_id)
        assert (task["status"], task["attempt"]) == ("succeeded", 2)
        assert frames.text == task["result"]["text"] == text_of(prompt)


@pytest.mark.slow
async def test_the_vectors_that_a_killed_worker_was_to_bring_come_from_another(
    start_worker: StartWorker, rest: RestClient, simulator: RestClient
) -> None:
    killed = start_worker(WORKER_LEASE_SECONDS="4")
    body = {"model": "simulated-embeddings", "input": "a [sim:stall=first,times=1]"}
    call = asyncio.ensure_future(rest.post("/v1/embeddings", body))

    async def is_called() -> bool:
        return bool((await simulator.get("/stats")).body["in_flight"])

    await eventually(is_called)
    killed.kill_group()
    start_worker()
    answer = await call
    assert answer.status == 200
    assert len(answer.body["data"][0]["embedding"]) == 256
    tasks = (await rest.get("/api/llmchat/tasks?kind=embeddings")).body["items"]
    assert [(task["status"], task["attempt"]) for task in tasks] == [("succeeded", 2)]


async def test_a_worker_runs_no_more_calls_than_it_may(
    start_worker: StartWorker, socket: ChatSocket, simulator: RestClient
) -> None:
    start_worker(WORKER_MAX_CALLS="3")
    prompts = [f"Few at once {number} [sim:latency=0.2,tokens=8,tps=0]" for number in range(12)]
    task_ids = await asyncio.gather(*map(socket.submit, prompts))
    await asyncio.gather(*map(socket.ended, task_ids))
    stats = (await simulator.get("/stats")).body
    assert (stats["requests"], stats["max_in_flight"]) == (12, 3)


# In one process: tests/chat/runner/test_scheduling.py.
@pytest.mark.slow
async def test_two_workers_together_keep_to_a_models_cap(
    start_worker: StartWorker, socket: ChatSocket, simulator: RestClient
) -> None:
    start_worker()
    start_worker()
    prompts = [f"Capped {number} [sim:latency=0.05,tokens=8,tps=0]" for number in range(100)]
    submits = (socket.submit(prompt, model="capped") for prompt in prompts)
    task_ids = await asyncio.gather(*submits)
    await asyncio.gather(*map(socket.ended, task_ids))
    stats = (await simulator.get("/stats")).body
    assert stats["requests"] == 100
    assert stats["max_in_flight"] == 5
