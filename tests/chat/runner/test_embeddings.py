"""Tasks whose answer is vectors: like all others from the queue to the ledger, but not streamed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import IdempotencyMismatch, InvalidRequest
from chat import actors, settlement
from chat.exceptions import BudgetExceeded
from chat.llm.embeddings import memory_of
from chat.llm.simulator.server import Simulator
from chat.llm.simulator.vectors import vector_of
from chat.management.commands.crontab import SCHEDULE
from chat.models import (
    Budget,
    LedgerEntry,
    LLMModel,
    Status,
    Task,
    TaskKind,
    TaskVectors,
)
from chat.models.vectors import VectorsSize, load_vectors, read_floats, size_of
from chat.runner import results
from chat.services.cancel import cancel_many
from chat.services.retry import retry_many
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from tests.chat.conftest import Embed, StartWorker, Submit, frames_of, row, until

TEXTS = ("the cat sat", "on the mat")


def expected(dimensions: int = 256, texts: tuple[str, ...] = TEXTS) -> bytes:
    return b"".join(vector_of(text, dimensions, 0).tobytes() for text in texts)


async def test_vectors_come_with_the_end_and_are_stored(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker
) -> None:
    await start_worker()
    task_id = await embed_as_alice(*TEXTS)
    frames = await frames_of(task_id, alice)
    assert [frame["type"] for frame in frames.frames if frame["type"] != "task.queued"] == [
        "task.started",
        "task.completed",
    ]
    vectors = await in_database(load_vectors, UUID(task_id))
    assert frames.end is not None
    assert vectors is not None
    assert vectors.floats == expected()
    assert frames.end["result"] == {"dimensions": 256, "embeddings": vectors.in_base64()}
    assert "is_truncated" not in frames.end
    task = await row(task_id)
    assert (task.kind, task.status, task.messages) == (TaskKind.EMBEDDINGS, "succeeded", [])
    assert task.usage["prompt_tokens"] == task.usage["total_tokens"] > 0
    assert (task.text, task.finish_reason, task.first_token_at) == ("", "", None)


async def test_large_vectors_are_read_from_their_table(
    alice: User,
    embed_as_alice: Embed,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "MAX_SENT_VECTOR_BYTES", 2 * 256 * 4 - 1)
    await start_worker()
    task_id = await embed_as_alice(*TEXTS)
    end = (await frames_of(task_id, alice)).end
    assert end is not None
    assert (end["result"], end["is_truncated"]) == ({"dimensions": 256, "embeddings": None}, True)
    pk = (await row(task_id)).pk
    assert await in_database(size_of, pk) == VectorsSize(2, 256)
    second = await in_database(read_floats, pk, 1024, 1024)
    assert second == expected()[1024:]


async def test_who_comes_after_the_log_is_gone_is_sent_to_the_table(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker, settings: Settings
) -> None:
    settings.EVENT_LOG_TTL_SECONDS = 1
    await start_worker()
    task_id = await embed_as_alice(*TEXTS)
    await frames_of(task_id, alice)
    task = await row(task_id)
    event = task.terminal_event("1-2")
    assert getattr(event, "result") == {"dimensions": None, "embeddings": None}  # noqa: B009
    assert getattr(event, "is_truncated") is True  # noqa: B009


@pytest.mark.parametrize("directive", ["status=503", "disconnect", "truncate", "empty"])
async def test_what_fails_is_tried_again(
    alice: User,
    embed_as_alice: Embed,
    start_worker: StartWorker,
    settings: Settings,
    directive: str,
) -> None:
    settings.TASK_RETRY_SECONDS = 0.01
    await start_worker()
    task_id = await embed_as_alice(f"cat [sim:{directive},times=1]")
    assert (await frames_of(task_id, alice)).end is not None
    task = await row(task_id)
    assert (task.status, task.attempt, task.failures) == ("succeeded", 2, 1)


async def test_more_than_is_stored_fails_with_a_code_of_its_own(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker, settings: Settings
) -> None:
    settings.EMBEDDINGS_MAX_RESULT_BYTES = 2 * 256 * 4 - 1
    await start_worker()
    task_id = await embed_as_alice(*TEXTS)
    end = (await frames_of(task_id, alice)).end
    assert end is not None
    assert end["error"]["code"] == "result_too_large"
    task = await row(task_id)
    assert (task.status, task.attempt) == ("failed", 1)
    assert not await in_database(TaskVectors.objects.exists)


async def test_a_cancelled_call_is_stopped(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker, simulator: Simulator
) -> None:
    await start_worker()
    task_id = await embed_as_alice("cat [sim:latency=60]")
    await until(lambda: simulator.stats.in_flight == 1)
    await in_database(cancel_many, [UUID(task_id)])
    assert (await frames_of(task_id, alice)).frames[-1]["type"] == "task.cancelled"
    await until(lambda: simulator.stats.client_disconnects == 1)


async def test_a_call_that_is_handed_back_is_made_elsewhere(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker, simulator: Simulator
) -> None:
    first = await start_worker()
    task_id = await embed_as_alice("cat [sim:stall=first,times=1]")
    await until(lambda: simulator.stats.in_flight == 1)
    await first.aclose()
    await start_worker()
    assert (await frames_of(task_id, alice)).end is not None
    task = await row(task_id)
    assert (task.status, task.attempt) == ("succeeded", 2)


async def test_a_deadline_holds(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker
) -> None:
    await start_worker()
    task_id = await embed_as_alice("cat [sim:latency=60]", deadline_seconds=0.3)
    assert (await frames_of(task_id, alice)).frames[-1]["type"] == "task.expired"


# --- Money --------------------------------------------------------------------------------------
def _entry(task_id: str) -> LedgerEntry:
    settlement.settle_ended_tasks()
    return LedgerEntry.objects.get(task_id=task_id, budget=None)


async def test_prompt_tokens_are_charged(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker
) -> None:
    await start_worker()
    task_id = await embed_as_alice(*TEXTS)
    await frames_of(task_id, alice)
    entry = await in_database(_entry, task_id)
    tokens = (await row(task_id)).usage["prompt_tokens"]
    assert (entry.prompt_tokens, entry.completion_tokens) == (tokens, 0)
    assert entry.money == Decimal(2 * tokens) / 1_000_000
    assert not entry.is_estimated


async def test_tokens_that_nobody_counted_are_estimated(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker
) -> None:
    await start_worker()
    text = "cat " * 50 + "[sim:usage=none]"
    task_id = await embed_as_alice(text)
    await frames_of(task_id, alice)
    entry = await in_database(_entry, task_id)
    assert (entry.prompt_tokens, entry.is_estimated) == ((len(text) + 4) // 2, True)


async def test_a_budget_counts_the_input_alone(
    alice: User, embed_as_alice: Embed, model: LLMModel
) -> None:
    await in_database(Budget.objects.create, user=alice, name="b", period="day", limit_tokens=30)
    task_id = await embed_as_alice("x" * 40)
    assert "max_tokens" not in (await row(task_id)).params
    with pytest.raises(BudgetExceeded):
        await embed_as_alice("x" * 40)


# --- Requests -----------------------------------------------------------------------------------
async def test_a_repeated_request_gets_the_same_task(embed_as_alice: Embed) -> None:
    first = await embed_as_alice("cat", key="k")
    assert await embed_as_alice("cat", key="k") == first
    with pytest.raises(IdempotencyMismatch):
        await embed_as_alice("dog", key="k")


async def test_models_do_what_they_can(
    alice: User, model: LLMModel, embed_as_alice: Embed, submit_as_alice: Submit
) -> None:
    for wrong in (
        embed_as_alice("cat", model=model.name),
        submit_as_alice("cat", model="simulated-embeddings"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await wrong
        assert refused.value.field == "model"
    assert not await in_database(Task.objects.exists)


async def test_a_default_model_that_makes_vectors_answers_no_chat(
    alice: User, embeddings_model: LLMModel, loop_services: None
) -> None:
    await in_database(LLMModel.objects.update, is_default=False)
    await in_database(LLMModel.objects.filter(pk=embeddings_model.pk).update, is_default=True)
    messages = [{"role": "user", "content": "cat"}]
    request = CompositeRequest.model_validate({"messages": messages})
    with pytest.raises(InvalidRequest):
        await submit(Submission(alice.pk, request))


async def test_a_retry_asks_for_the_same_vectors(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker
) -> None:
    await start_worker()
    task_id = await embed_as_alice(*TEXTS, dimensions=8)
    await frames_of(task_id, alice)
    assert await in_database(retry_many, [UUID(task_id)]) == 1
    new = await in_database(lambda: Task.objects.exclude(pk=UUID(task_id)).get())
    assert (new.kind, new.params["input"]) == (TaskKind.EMBEDDINGS, list(TEXTS))
    await frames_of(str(new.pk), alice)
    vectors = await in_database(load_vectors, new.pk)
    assert vectors is not None
    assert vectors.floats == expected(8)


# --- How long they are kept ---------------------------------------------------------------------
def _age(task_id: str, seconds: float) -> None:
    stored_at = timezone.now() - timedelta(seconds=seconds)
    assert TaskVectors.objects.filter(pk=UUID(task_id)).update(stored_at=stored_at) == 1


async def test_vectors_are_deleted_before_their_tasks(
    alice: User, embed_as_alice: Embed, start_worker: StartWorker, settings: Settings
) -> None:
    settings.EMBEDDINGS_KEPT_SECONDS = 3600
    await start_worker()
    old, new = await embed_as_alice("old"), await embed_as_alice("new")
    for task_id in (old, new):
        await frames_of(task_id, alice)
    await in_database(_age, old, 3601)
    assert actors.purge_vectors in [actor for actor, _ in SCHEDULE]
    await in_database(actors.purge_vectors)
    left = await in_database(
        lambda: [str(pk) for pk in TaskVectors.objects.values_list("pk", flat=True)]
    )
    assert left == [new]
    assert (await row(old)).status == Status.SUCCEEDED
    await in_database(Task.objects.filter(pk=UUID(new)).delete)
    assert not await in_database(TaskVectors.objects.exists)


# --- Memory -------------------------------------------------------------------------------------
async def test_calls_wait_while_the_vectors_of_others_fill_the_memory(
    alice: User,
    embed_as_alice: Embed,
    start_worker: StartWorker,
    simulator: Simulator,
    settings: Settings,
) -> None:
    settings.WORKER_MAX_VECTOR_BYTES = 2 * memory_of(3, 100, 10**9)
    worker = await start_worker()
    texts = ["a [sim:latency=0.2]"] * 3
    task_ids = [await embed_as_alice(*texts, dimensions=100) for _ in range(7)]
    # Cancelled while it waits, and while it is answered.
    await until(lambda: simulator.stats.in_flight == 2)
    await in_database(cancel_many, [UUID(task_ids[1]), UUID(task_ids[-1])])
    ends = [(await frames_of(task_id, alice)).frames[-1]["type"] for task_id in task_ids]
    assert ends.count("task.completed") >= 5
    assert simulator.stats.max_in_flight <= 2
    await until(lambda: worker.calls.memory.vectors.reserved == 0)
