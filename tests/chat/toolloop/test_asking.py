"""What comes of a question to the user: webhooks, mail, budgets, prices."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat import settlement
from chat.delivery.deliverer import Deliverer
from chat.delivery.payloads import MAX_BODY_BYTES, body_of
from chat.exceptions import InvalidTemplate
from chat.llm.simulator.server import Simulator
from chat.models import (
    Budget,
    BudgetPeriod,
    Delivery,
    LedgerEntry,
    LLMModel,
    NotificationPreferences,
    ReservationChange,
    Scene,
    Status,
    Tool,
    WebhookEndpoint,
)
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.services import scenes
from chat.services.cancel import cancel
from chat.services.tool_approvals import approve, reject
from tests.chat.conftest import StartWorker, row, until
from tests.chat.toolloop.conftest import Plan, asked, calls_of, ended
from tests.chat.toolloop.service import ToolService

ACTION = "task.requires_action"


# --- Webhooks and mail --------------------------------------------------------------------------
async def test_endpoints_that_name_the_event_are_asked_once_a_step(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    url = "https://hooks.example"
    asking = await in_database(
        WebhookEndpoint.objects.create, owner=alice, url=url, events=[ACTION], secret="x"
    )
    await in_database(WebhookEndpoint.objects.create, owner=alice, url=url, secret="x")
    task_id = await submit_plan('ask {"a": 2} | ask {"a": 3} | add {"a": 1}')
    await asked(task_id)
    assert await in_database(recovery.announce_questions) == 1
    assert await in_database(recovery.announce_questions) == 0
    delivery = await in_database(Delivery.objects.select_related("endpoint").get)
    assert (delivery.event, delivery.endpoint) == (ACTION, asking)
    data = delivery.data
    assert data["task_id"] == task_id
    assert data["status"] == "requires_action"
    assert [call["arguments"] for call in data["tool_calls"]] == ['{"a": 2}', '{"a": 3}']
    assert all(call["deadline"] for call in data["tool_calls"])


async def test_large_arguments_and_metadata_fit_a_webhook(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    await in_database(
        WebhookEndpoint.objects.create,
        owner=alice, url="https://hooks.example", events=[ACTION], secret="x",
    )  # fmt: skip
    long = "ä" * 1_600
    plan = " | ".join(f'ask {{"a": {number}, "b": "{long}"}}' for number in range(9))
    task_id = await submit_plan(plan, metadata={"x": "y" * 15_000})
    await asked(task_id)
    await in_database(recovery.announce_questions)
    delivery = await in_database(Delivery.objects.get)
    assert len(body_of(delivery).encode()) <= MAX_BODY_BYTES
    assert delivery.data["is_truncated"] is True


async def test_a_mail_asks_those_who_want_it(
    worker: Runtime, submit_plan: Plan, alice: User, settings: Settings
) -> None:
    alice.email = "alice@wonderland.example"
    await in_database(alice.save)
    await in_database(
        NotificationPreferences.objects.create, user=alice, email_on_requires_action=True
    )
    task_id = await submit_plan('ask {"a": 2}')
    await asked(task_id)
    assert await in_database(recovery.announce_questions) == 1
    deliverer = Deliverer()
    try:
        deliverer.wake()
        delivery = await in_database(Delivery.objects.select_related("owner").get)
    finally:
        await deliverer.stop()
    from chat.delivery.mail import message_of

    message = await in_database(message_of, delivery)
    assert message.subject == "Approval needed: office"
    assert task_id in message.body
    assert 'ask {"a": 2}' in message.body
    assert not mail.outbox or mail.outbox[0].to == [alice.email]


# --- Budgets ------------------------------------------------------------------------------------
async def _budget(owner: User, **limits: int) -> Budget:
    return await in_database(Budget.objects.create, user=owner, name="pocket money", **limits)


async def _reserved(budget: Budget) -> int:
    period = await in_database(BudgetPeriod.objects.get, budget=budget)
    return period.reserved_tokens


async def test_a_task_that_waits_frees_what_it_does_not_use(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    budget = await _budget(alice, limit_tokens=1_000_000)
    task_id = await submit_plan('ask {"a": 2}')
    before = await _reserved(budget)
    call = await asked(task_id)
    await in_database(recovery.announce_questions)
    used = (await row(task_id)).usage["total_tokens"]
    assert await _reserved(budget) == used < before
    await approve(alice.pk, UUID(task_id), call.pk)
    assert (await ended(task_id)).status == Status.SUCCEEDED
    # What was used, and another turn, whose prompt has the result as well.
    assert await _reserved(budget) > used + before
    await in_database(settlement.settle_ended_tasks)
    period = await in_database(BudgetPeriod.objects.get, budget=budget)
    task = await row(task_id)
    assert (period.reserved_tokens, period.reserved_calls, period.reserved_money) == (
        0,
        0,
        Decimal(0),
    )
    assert period.spent_tokens == task.usage["prompt_tokens"] + task.usage["completion_tokens"]
    assert not await in_database(ReservationChange.objects.exists)


async def test_cancelling_while_it_waits_leaves_nothing_reserved(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    budget = await _budget(alice, limit_tokens=1_000_000)
    task_id = await submit_plan('ask {"a": 2}')
    await asked(task_id)
    await in_database(recovery.announce_questions)
    await cancel(alice.pk, UUID(task_id))
    await in_database(settlement.settle_ended_tasks)
    assert await _reserved(budget) == 0
    assert not await in_database(ReservationChange.objects.exists)


async def test_a_task_whose_budget_was_used_up_meanwhile_fails_when_it_would_go_on(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    budget = await _budget(alice, limit_tokens=1_000_000)
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    await in_database(recovery.announce_questions)
    await in_database(Budget.objects.filter(pk=budget.pk).update, limit_tokens=1)
    await reject(alice.pk, UUID(task_id), call.pk)
    task = await ended(task_id)
    assert task.status == Status.FAILED
    assert task.error is not None
    assert task.error["code"] == "budget_exceeded"
    await in_database(settlement.settle_ended_tasks)
    assert await _reserved(budget) == 0


@pytest.mark.parametrize("plan", ['add {"a": 1}', 'add {"a": "no number"}', "missing {}"])
async def test_a_turn_is_reserved_before_it_is_made(
    start_worker: StartWorker, submit_plan: Plan, simulator: Simulator, alice: User, plan: str
) -> None:
    budget = await _budget(alice, limit_tokens=1_000_000)
    task_id = await submit_plan(plan)
    limit = await _reserved(budget) + 10
    await in_database(Budget.objects.filter(pk=budget.pk).update, limit_tokens=limit)
    await start_worker()
    task = await ended(task_id)
    assert task.error is not None
    assert task.error["code"] == "budget_exceeded"
    assert task.attempt == simulator.stats.requests == 1
    await in_database(settlement.settle_ended_tasks)
    period = await in_database(BudgetPeriod.objects.get, budget=budget)
    assert (period.reserved_tokens, period.reserved_money) == (0, Decimal(0))
    assert 0 < period.spent_tokens <= limit


async def test_a_loop_never_reserves_less_than_it_has_used(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    budget = await _budget(alice, limit_tokens=1_000_000)
    held = service.hold("again")
    task_id = await submit_plan('add {"a": 1} ; add {"a": 2} ; again {"a": 3}')
    await until(lambda: service.begun["again"], "the last step")
    assert await _reserved(budget) > (await row(task_id)).usage["total_tokens"]
    held.set()
    await ended(task_id)
    assert await _reserved(budget) > (await row(task_id)).usage["total_tokens"]
    await in_database(settlement.settle_ended_tasks)
    assert await _reserved(budget) == 0


async def test_the_price_of_tools_is_reserved_before_they_are_called(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    await in_database(lambda: Tool.objects.update(price="0.2"))
    budget = await _budget(alice, limit_money=100)
    held = service.hold("add")
    task_id = await submit_plan('add {"a": 1} ; add {"a": 2} | again {"a": 3}')
    await until(lambda: service.calls, "the first call")
    period = await in_database(BudgetPeriod.objects.get, budget=budget)
    assert period.reserved_money >= Decimal("0.2")
    limit = period.reserved_money + Decimal("0.3")
    await in_database(Budget.objects.filter(pk=budget.pk).update, limit_money=limit)
    held.set()
    task = await ended(task_id)
    assert task.error is not None
    assert task.error["code"] == "budget_exceeded"
    assert service.begun == {"add": 1}
    await in_database(settlement.settle_ended_tasks)
    period = await in_database(BudgetPeriod.objects.get, budget=budget)
    assert (period.reserved_tokens, period.reserved_money) == (0, Decimal(0))
    assert period.spent_money <= limit


# --- Prices ---------------------------------------------------------------------------------------
async def test_tools_with_a_price_are_in_the_ledger(
    worker: Runtime, submit_plan: Plan, alice: User, model: LLMModel
) -> None:
    currency = model.currency
    await in_database(
        Tool.objects.filter(function_name="add").update, price=Decimal("0.25"), currency=currency
    )
    task_id = await submit_plan('add {"a": 1} | add {"a": 2} ; again {"a": 1}')
    await ended(task_id)
    await in_database(settlement.settle_ended_tasks)
    entry = await in_database(LedgerEntry.objects.get, task_id=task_id, budget=None)
    assert entry.money == Decimal("0.5")


async def test_a_tool_with_a_price_in_another_currency_is_not_offered(
    worker: Runtime, submit_plan: Plan, service: ToolService
) -> None:
    add = await in_database(Tool.objects.get, function_name="add")
    add.price, add.currency = Decimal("0.25"), "EUR"
    with pytest.raises(ValidationError) as refused:
        await in_database(add.full_clean)
    assert list(refused.value.message_dict) == ["currency"]
    await in_database(add.save)
    with pytest.raises(InvalidTemplate, match="EUR") as wrong:
        await in_database(
            lambda: scenes.create_version(
                Scene.objects.get(), None, {"user_template": "Hi", "tools": ["again", "add"]}
            )
        )
    assert wrong.value.field == "tools"
    # As where a request names a model of another currency.
    task_id = await submit_plan('add {"a": 1} | again {"a": 2}')
    assert (await ended(task_id)).status == Status.SUCCEEDED
    calls = await calls_of(task_id)
    assert [(call.name, call.error_code) for call in calls] == [
        ("add", "tool_unknown"),
        ("again", ""),
    ]
    assert service.begun == {"again": 1}


async def test_a_limit_of_cost_ends_the_task(
    worker: Runtime, submit_plan: Plan, service: ToolService, model: LLMModel, settings: Settings
) -> None:
    settings.TOOL_LOOP_MAX_COST = 0.3
    await in_database(
        Tool.objects.filter(function_name="add").update, price=Decimal("0.2"), currency="USD"
    )
    plan = "; ".join(f'add {{"a": {number}}}' for number in range(6))
    task = await ended(await submit_plan(plan))
    assert task.error is not None
    assert task.error["code"] == "tool_limit"
    assert "0.3 USD" in task.error["message"]
    assert service.begun["add"] == 2
