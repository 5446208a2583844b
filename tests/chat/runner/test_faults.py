"""What a provider can do wrong, and what becomes of the task: state, error code, attempts, text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.answers import simulated_answer
from chat.llm.simulator.server import Simulator
from chat.llm.types import ChatRequest, Completion, Delta, TimeLimits, Upstream
from chat.models import LLMModel, Provider, Status
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until
from tests.client import TaskFrames

#: Faults that another attempt may cure, and the error code of a task that never gets past them.
RETRIED = {
    "status=429": "provider_rate_limited",
    "status=500": "provider_error",
    "status=503": "provider_overloaded",
    "stall=first": "provider_timeout_first_token",
    "stall=first,silent": "provider_timeout_first_token",
    "stall=middle": "provider_timeout_between_tokens",
    "truncate": "provider_truncated",
    "disconnect": "provider_truncated",
    "broken_json": "provider_invalid_response",
    "empty": "provider_empty",
    "error=first": "provider_error",
    "error=middle": "provider_error",
}
FINAL = {
    "status=400": "provider_bad_request",
    "status=401": "provider_auth",
    "status=402": "provider_balance",
    "status=404": "provider_model_not_found",
}
#: Half of the answer has come before. (Other faults in the middle may arrive along with it.)
SURELY_MIDWAY = {"stall=middle", "truncate"}


@pytest.fixture(autouse=True)
def _short_waits(settings: Settings, request: pytest.FixtureRequest) -> None:
    """Where the provider stalls, and only there: a busy machine may take longer for its answer, and
    what times out before the simulator has read it is no fault that the simulator counts."""
    settings.TASK_RETRY_SECONDS = 0.02
    settings.TASK_MAX_FAILURES = 2
    if "stall" in request.node.name:
        is_midway = "middle" in request.node.name
        settings.LLM_FIRST_TOKEN_SECONDS = 20 if is_midway else 1
        settings.LLM_BETWEEN_TOKENS_SECONDS = 1


def answer_to(prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    return simulated_answer({"model": "deepseek-flash", "messages": messages}).text


@pytest.mark.parametrize(("fault", "code"), RETRIED.items())
async def test_a_fault_that_lasts_fails_the_task_after_its_last_attempt(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    simulator: Simulator,
    fault: str,
    code: str,
) -> None:
    task_id = await submit_as_alice(f"Fail [sim:{fault},tokens=30,tps=300]")
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.error is not None
    assert (task.status, task.error["code"], task.attempt) == (Status.FAILED, code, 2)
    assert simulator.stats.requests == 2
    frames.check_ids()
    assert frames.end is not None
    assert frames.end["error"] == task.error
    assert frames.last_id == f"2-{task.last_event}"
    assert (frames.text, frames.reasoning) == (task.text, task.reasoning)
    assert task.text or fault not in SURELY_MIDWAY


@pytest.mark.parametrize("fault", RETRIED)
async def test_a_fault_that_passes_is_retried_and_only_the_last_attempts_text_counts(
    worker: Runtime, submit_as_alice: Submit, alice: User, simulator: Simulator, fault: str
) -> None:
    prompt = f"Succeed the second time [sim:{fault},times=1,tokens=30,tps=300]"
    task_id = await submit_as_alice(prompt)
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.error, task.attempt) == (Status.SUCCEEDED, None, 2)
    assert task.text == answer_to(prompt)
    assert frames.text == task.text
    frames.check_ids()
    attempts = [frame["attempt"] for frame in frames.frames if frame["type"] == "task.started"]
    assert attempts == [1, 2]
    has_first_text = any(
        frame["id"].startswith("1-") and frame.get("text") for frame in frames.logged
    )
    assert has_first_text or fault not in SURELY_MIDWAY


@pytest.mark.parametrize(("fault", "code"), FINAL.items())
async def test_a_fault_that_no_attempt_can_cure_fails_the_task_at_once(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    simulator: Simulator,
    fault: str,
    code: str,
) -> None:
    task_id = await submit_as_alice(f"Fail [sim:{fault}]")
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.error is not None
    assert (task.status, task.error["code"], task.attempt) == (Status.FAILED, code, 1)
    assert simulator.stats.requests == 1
    assert frames.types == ["task.started", "task.failed"]


async def test_retry_after_is_waited_for(
    start_worker: StartWorker, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Later [sim:status=429,retry_after=0.6,times=1]")
    frames = TaskFrames()
    reading = asyncio.ensure_future(frames_of(task_id, alice, frames))
    # There before the attempt, so that the notice of the retry cannot be missed.
    await until(lambda: frames.frames)
    started = time.monotonic()
    await start_worker()
    await reading
    assert time.monotonic() - started > 0.6
    # Without a position, as it is not in the ready set: the notice of the retry.
    notices = [frame for frame in frames.frames if frame["type"] == "task.queued"]
    # Or, for a reader that comes later, what the row says, or the pool, which pauses for a second.
    queued = [frame for frame in notices if frame["position"] is None]
    assert queued
    assert all(0 <= frame["eta_seconds"] <= 1 for frame in queued)
    assert {frame["waiting_for"]["kind"] for frame in queued} <= {"retry", "pause"}
    assert (await row(task_id)).status == Status.SUCCEEDED


async def test_an_answer_that_takes_too_long_in_all_is_not_asked_for_again(
    worker: Runtime, submit_as_alice: Submit, alice: User, settings: Settings
) -> None:
    settings.LLM_TOTAL_SECONDS = 8
    settings.LLM_BETWEEN_TOKENS_SECONDS = 30
    task_id = await submit_as_alice("Too long [sim:stall=middle,tokens=30]")
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.error is not None
    assert (task.error["code"], task.attempt) == ("provider_timeout_total", 1)
    assert task.text == frames.text != ""


async def test_a_provider_that_cannot_be_reached_is_tried_again_and_then_named(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    closed = await in_database(
        Provider.objects.create, name="closed", base_url="http://127.0.0.1:9"
    )
    await in_database(LLMModel.objects.create, provider=closed, name="unreachable")
    await worker.reload_pools()
    task_id = await submit_as_alice("Anybody there?", model="unreachable")
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.error is not None
    assert (task.error["code"], task.attempt) == ("provider_unreachable", 2)
    assert frames.types[-1] == "task.failed"


async def test_a_task_whose_deadline_passes_in_its_call_expires_with_what_came(
    worker: Runtime, submit_as_alice: Submit, alice: User, simulator: Simulator, settings: Settings
) -> None:
    settings.LLM_BETWEEN_TOKENS_SECONDS = 30
    task_id = await submit_as_alice("Hurry [sim:stall=middle]", deadline_seconds=8)
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.error, task.attempt) == (Status.EXPIRED, None, 1)
    assert frames.types[-1] == "task.expired"
    assert task.text == frames.text != ""


async def test_a_call_that_breaks_in_our_own_code_fails_as_internal_and_harms_no_other(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = worker.client.ask

    async def broken(upstream: Upstream, request: ChatRequest, *rest: Any) -> Completion:
        if b"Break" in msgspec.json.encode(request.messages):
            raise ZeroDivisionError
        return await ask(upstream, request, *rest)

    monkeypatch.setattr(worker.client, "ask", broken)
    broken_id = await submit_as_alice("Break")
    other_id = await submit_as_alice("Do not")
    frames = await frames_of(broken_id, alice)
    assert frames.end is not None
    assert frames.end["error"]["code"] == "internal"
    assert (await frames_of(other_id, alice)).types[-1] == "task.completed"


async def test_a_finish_reason_of_any_length_is_taken(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    reason = "because_" * 20
    task_id = await submit_as_alice(f"Stop [sim:finish={reason},tokens=8]")
    frames = await frames_of(task_id, alice)
    assert frames.end is not None
    assert frames.end["result"]["finish_reason"] == reason[:40]


async def test_an_answer_that_cannot_be_stored_fails_alone(
    worker: Runtime, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL takes no U+0000; the client that keeps it out is bypassed here."""
    ask = worker.client.ask

    async def poisoned(
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        *rest: Any,
    ) -> Completion:
        if b"Poison" in msgspec.json.encode(request.messages):
            on_delta(Delta("\x00", ""))
        return await ask(upstream, request, limits, on_delta, *rest)

    monkeypatch.setattr(worker.client, "ask", poisoned)
    prompts = ["Poison", *(f"Good {number}" for number in range(10))]
    task_ids = await asyncio.gather(*map(submit_as_alice, prompts))
    frames = [await frames_of(task_id, alice) for task_id in task_ids]
    assert [received.types[-1] for received in frames] == ["task.failed", *["task.completed"] * 10]
    assert frames[0].end is not None
    assert frames[0].end["error"]["code"] == "internal"
    assert (await row(task_ids[0])).error == frames[0].end["error"]
