"""Between the two turns, and within the second: deaths, cancels, deadlines, and what they cost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.models import User
from aily.database.threads import in_database
from chat.exceptions import BudgetExceeded
from chat.models import Budget, BudgetPeriod, LedgerEntry, LLMModel, Status
from chat.runner import recovery
from chat.services.cancel import cancel
from chat.settlement import settle_ended_tasks
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row, until
from tests.chat.runner.crashes import crash
from tests.chat.structured.conftest import Play
from tests.chat.structured.scripted import (
    ADA,
    COMPLETION_TOKENS,
    NOBODY,
    PROMPT_TOKENS,
    Answer,
    Scripted,
    format_of,
)


@pytest.fixture(autouse=True)
def prices(model: LLMModel) -> None:
    """1 USD per million prompt tokens, 2 per million completion tokens."""
    model.input_price, model.output_price = Decimal(1), Decimal(2)
    model.save()


async def usage_entry(task_id: str) -> LedgerEntry:
    await in_database(settle_ended_tasks)
    entry = await in_database(LedgerEntry.objects.get, task_id=task_id, budget=None, kind="settle")
    assert isinstance(entry, LedgerEntry)
    return entry


async def has_begun_again(task_id: str) -> bool:
    task = await row(task_id)
    return (task.status, task.attempt) == (Status.RUNNING, 2)


async def stopped_between_the_turns(submit: Submit, play: Play) -> tuple[str, Scripted]:
    """A task whose first answer did not fit, whose worker is gone, and whose model goes on."""
    gate = asyncio.Event()
    provider = await play(Answer(NOBODY, until=gate), ADA)
    task_id = await submit("Who?", response_format=format_of())
    await until(lambda: provider.bodies)
    # Held, so that no worker begins the second turn.
    await in_database(lambda: LLMModel.objects.update(paused_at=timezone.now()))
    gate.set()

    async def is_to_be_repaired() -> bool:
        task = await row(task_id)
        return task.status == Status.QUEUED and task.repair is not None

    await eventually(is_to_be_repaired)
    for worker in list(play.workers):
        await worker.aclose()
    await in_database(lambda: LLMModel.objects.update(paused_at=None))
    return task_id, provider


async def test_a_worker_that_ends_between_the_turns_costs_nothing(
    alice: User, submit_as_alice: Submit, play: Play, start_worker: StartWorker
) -> None:
    task_id, provider = await stopped_between_the_turns(submit_as_alice, play)
    await start_worker()
    await in_database(recovery.sweep)
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.text, frames.text) == (Status.SUCCEEDED, ADA, ADA)
    assert (task.attempt, len(provider.bodies)) == (2, 2)
    assert provider.bodies[1]["messages"][-2]["content"] == NOBODY


async def test_a_worker_that_dies_in_the_second_turn_leaves_it_to_another(
    alice: User, submit_as_alice: Submit, play: Play, start_worker: StartWorker
) -> None:
    task_id, provider = await stopped_between_the_turns(submit_as_alice, play)
    await crash(task_id, alice)
    await in_database(recovery.sweep)
    assert (await row(task_id)).usage["prompt_tokens"] == PROMPT_TOKENS
    await start_worker()
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.attempt, frames.text) == (Status.SUCCEEDED, 3, ADA)
    assert provider.bodies[1]["messages"][-2]["content"] == NOBODY
    assert task.usage["prompt_tokens"] == 2 * PROMPT_TOKENS


async def test_a_task_cancelled_between_the_turns_is_charged_for_the_first(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    task_id, _ = await stopped_between_the_turns(submit_as_alice, play)
    task = await cancel(alice.pk, UUID(task_id))
    assert (task.status, task.text) == (Status.CANCELLED, "")
    entry = await usage_entry(task_id)
    counted = (entry.prompt_tokens, entry.completion_tokens, entry.is_estimated)
    assert counted == (PROMPT_TOKENS, COMPLETION_TOKENS, False)


async def test_a_repair_is_entered_in_the_ledger(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(NOBODY, ADA)
    task_id = await submit_as_alice("Who?", response_format=format_of())
    await frames_of(task_id, alice)
    entry = await usage_entry(task_id)
    counted = (entry.prompt_tokens, entry.completion_tokens, entry.is_estimated)
    assert counted == (2 * PROMPT_TOKENS, 2 * COMPLETION_TOKENS, False)
    micro_dollars = 2 * PROMPT_TOKENS + 2 * 2 * COMPLETION_TOKENS
    assert entry.money == Decimal(micro_dollars) / 1_000_000


@pytest.mark.parametrize("mode", ["json_object", "native"])
async def test_a_repair_that_is_cancelled_keeps_its_text_and_costs_both_calls(
    alice: User, submit_as_alice: Submit, play: Play, mode: str
) -> None:
    begun = ADA[:30]
    await play(NOBODY, Answer(first=begun, until=asyncio.Event()), mode=mode)
    task_id = await submit_as_alice("Who?", response_format=format_of())
    await eventually(lambda: has_begun_again(task_id))
    # Its text may have come, or not yet: without any there is nothing to keep.
    calls = play.workers[0].calls.by_task
    await until(lambda: any(call.state.first_token_at for call in calls.values()))
    task = await cancel(alice.pk, UUID(task_id))
    assert (task.status, task.text, task.error) == (Status.CANCELLED, begun, None)
    frames = await frames_of(task_id, alice)
    assert (frames.types[-1], frames.text) == ("task.cancelled", begun)
    entry = await usage_entry(task_id)
    # The second call as it is estimated, from its texts.
    assert entry.is_estimated
    assert entry.prompt_tokens > PROMPT_TOKENS + len(NOBODY) // 2
    assert entry.completion_tokens == COMPLETION_TOKENS + len(begun) // 2


async def test_a_deadline_holds_for_both_turns(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(NOBODY, Answer(until=asyncio.Event()))
    task_id = await submit_as_alice("Who?", response_format=format_of(), deadline_seconds=8)
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, frames.types[-1], task.attempt) == (Status.EXPIRED, "task.expired", 2)
    entry = await usage_entry(task_id)
    assert (entry.prompt_tokens, entry.completion_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS)


# --- Budgets ------------------------------------------------------------------------------------
async def test_what_a_repair_may_cost_is_reserved_and_what_it_costs_is_charged(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    gate = asyncio.Event()
    await play(Answer(NOBODY, until=gate), ADA)
    await in_database(Budget.objects.create, user=alice, name="all", limit_tokens=100_000)
    task_id = await submit_as_alice("Who?", response_format=format_of(), max_tokens=1_000)
    period = await in_database(BudgetPeriod.objects.get)
    # Two answers, and a second prompt that has the first of them.
    assert period.reserved_tokens > 3 * 1_000
    gate.set()
    await frames_of(task_id, alice)
    await in_database(settle_ended_tasks)
    await in_database(period.refresh_from_db)
    assert period.reserved_tokens == 0
    assert period.spent_tokens == 2 * (PROMPT_TOKENS + COMPLETION_TOKENS)
    assert period.spent_calls == 1


async def test_a_budget_that_a_repair_would_exceed_refuses_the_task(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play(NOBODY)
    await in_database(Budget.objects.create, user=alice, name="all", limit_tokens=2_500)
    # One call has room, and no schema needs another.
    task_id = await submit_as_alice("Who?", max_tokens=1_000)
    await frames_of(task_id, alice)
    await in_database(settle_ended_tasks)
    with pytest.raises(BudgetExceeded):
        await submit_as_alice("Who?", response_format=format_of(), max_tokens=1_000)
    assert len(provider.bodies) == 1
