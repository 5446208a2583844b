"""Budgets: what is reserved, what is refused, and what an ended task has cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import APIKey, User
from chat import accounting, retention, settlement
from chat.accounting.tokens import estimate
from chat.exceptions import BudgetExceeded
from chat.models import (
    Budget,
    BudgetPeriod,
    Conversation,
    Delivery,
    LedgerEntry,
    LLMModel,
    ModelPrice,
    NotificationPreferences,
    Task,
)
from chat.models.budgets import Period
from chat.models.ended import EndedTask
from chat.services.submit import Accepted
from chat.services.submit import submit_many as submit_batch
from tests.chat.accounting.conftest import SubmitMany, budget_of, end, submission, usage
from tests.conftest import ClientOf

Kind = LedgerEntry.Kind


def period_of(budget: Budget) -> BudgetPeriod:
    return BudgetPeriod.objects.get(budget=budget)


def accepted(outcomes: list[Accepted | Exception]) -> list[Accepted]:
    return [outcome for outcome in outcomes if isinstance(outcome, Accepted)]


# --- Reserving ----------------------------------------------------------------------------------
def test_a_batch_gets_what_is_left_and_the_others_are_told_what_and_when(
    alice: User, submit_many: SubmitMany
) -> None:
    budget = budget_of(alice, limit_calls=3, period=Period.DAY)
    before = timezone.now()
    outcomes = submit_many(5)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3 + [BudgetExceeded] * 2
    assert Task.objects.count() == 3
    problem = outcomes[4]
    assert isinstance(problem, BudgetExceeded)
    assert (problem.status, problem.code) == (429, "budget_exceeded")
    assert problem.budget["name"] == "pocket money"
    assert (problem.budget["limit"], problem.budget["left"]) == ("3", "0")
    end_of_day = before.date() + timedelta(days=1)
    assert problem.budget["ends_at"] == f"{end_of_day}T00:00:00Z"
    assert "pocket money" in problem.message
    period = period_of(budget)
    assert (period.reserved_calls, period.spent_calls) == (3, 0)


def test_one_must_wait_for_the_next_period_once_the_budget_is_spent(
    alice: User, submit_many: SubmitMany
) -> None:
    budget_of(alice, limit_calls=1, period=Period.DAY)
    [first] = accepted(submit_many())
    [waiting] = submit_many()
    end(first.task_id, usage=usage(1, 1))
    settlement.settle_ended_tasks()
    [spent] = submit_many()
    assert isinstance(waiting, BudgetExceeded)
    assert isinstance(spent, BudgetExceeded)
    # While it is but reserved, the end of a call may free it at any time.
    assert waiting.retry_after_seconds == 5
    assert spent.retry_after_seconds is not None
    now = timezone.now()
    left = (Period.DAY.end(now) or now) - now
    assert abs(spent.retry_after_seconds - left.total_seconds()) < 30


def test_tokens_and_money_are_reserved_for_the_worst_case(
    alice: User, model: LLMModel, submit_many: SubmitMany
) -> None:
    ModelPrice.objects.create(
        model=model, input_price=10, cached_input_price=1, output_price=20, weekdays=[0]
    )
    budget = budget_of(alice, limit_tokens=10_000, limit_money=1)
    [submitted] = accepted(submit_many(max_tokens=100))
    entry = LedgerEntry.objects.get(task_id=submitted.task_id, kind=Kind.RESERVE)
    period = period_of(budget)
    assert entry.completion_tokens == 100
    assert entry.prompt_tokens > len("Hi")
    assert period.reserved_tokens == entry.tokens
    # By the price of Mondays, whatever day it is.
    expected = (Decimal(entry.prompt_tokens) * 10 + 100 * 20) / 1_000_000
    assert (period.reserved_money, entry.money) == (expected, expected)


def test_a_budgeted_task_without_a_limit_is_held_to_its_models(
    alice: User, model: LLMModel, submit_many: SubmitMany
) -> None:
    LLMModel.objects.filter(pk=model.pk).update(default_max_tokens=50)
    [free] = accepted(submit_many(max_tokens=None))
    budget_of(alice, limit_tokens=10_000)
    [held] = accepted(submit_many(max_tokens=None))
    assert "max_tokens" not in Task.objects.get(pk=free.task_id).params
    assert Task.objects.get(pk=held.task_id).params["max_tokens"] == 50


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": None, "max_completion_tokens": 70},
        {"max_tokens": 70, "max_completion_tokens": 30},
        {"max_tokens": 30, "max_completion_tokens": 70},
        {"max_tokens": None, "extra_body": {"max_tokens": 70}},
        {"max_tokens": 5, "extra_body": {"max_tokens": 70}},
        {"max_tokens": 5, "extra_body": {"max_completion_tokens": 70}},
    ],
)
def test_the_limit_counts_by_whichever_name_it_is_given(
    alice: User, submit_many: SubmitMany, fields: dict[str, Any]
) -> None:
    budget_of(alice, limit_tokens=10_000)
    [submitted] = accepted(submit_many(fields=fields))
    entry = LedgerEntry.objects.get(task_id=submitted.task_id, kind=Kind.RESERVE)
    assert entry.completion_tokens == 70


def test_what_is_no_text_is_reserved_for(alice: User, submit_many: SubmitMany) -> None:
    budget_of(alice, limit_tokens=100_000)
    image = {"type": "image_url", "image_url": {"url": "https://site.example/image.png"}}
    content = [{"type": "text", "text": "What is this?"}, image, image]
    [submitted] = accepted(submit_many(fields={"messages": [{"role": "user", "content": content}]}))
    entry = LedgerEntry.objects.get(task_id=submitted.task_id, kind=Kind.RESERVE)
    assert entry.prompt_tokens > 2 * 2000


def test_all_budgets_of_a_task_hold_or_none_is_touched(
    alice: User, submit_many: SubmitMany
) -> None:
    key, _ = APIKey.create(alice, "test")
    wide = budget_of(alice, limit_calls=10)
    narrow = budget_of(None, api_key=key, limit_calls=1)
    assert len(accepted(submit_many(3, api_key_id=key.pk))) == 1
    assert period_of(wide).reserved_calls == 1
    assert period_of(narrow).reserved_calls == 1
    # A session, or another key, has the wide one alone.
    assert len(accepted(submit_many(3))) == 3
    assert period_of(wide).reserved_calls == 4


def test_a_budget_concerns_neither_others_nor_inactive_times(
    alice: User, bob: User, submit_many: SubmitMany
) -> None:
    budget_of(bob, limit_calls=0)
    budget_of(alice, limit_calls=0, is_active=False)
    assert len(accepted(submit_many(2))) == 2
    assert not BudgetPeriod.objects.filter(reserved_calls__gt=0).exists()


def test_a_money_budget_refuses_what_it_cannot_count(
    alice: User, model: LLMModel, submit_many: SubmitMany
) -> None:
    budget_of(alice, limit_money=1000, currency="CNY")
    [problem] = submit_many()
    assert isinstance(problem, BudgetExceeded)
    assert "USD" in problem.message
    assert "CNY" in problem.message


def test_a_repeated_request_finds_its_task_though_the_budget_is_spent(
    alice: User, submit_many: SubmitMany
) -> None:
    budget = budget_of(alice, limit_calls=1)
    [first] = accepted(submit_many(idempotency_key="once"))
    [again] = accepted(submit_many(idempotency_key="once"))
    assert (again.task_id, again.is_new) == (first.task_id, False)
    assert period_of(budget).reserved_calls == 1


def test_a_task_that_a_constraint_refuses_reserves_nothing(
    alice: User, submit_many: SubmitMany
) -> None:
    budget = budget_of(alice, limit_calls=10)
    same = [submission(alice, idempotency_key="once") for _ in range(3)]
    outcomes = accepted(submit_batch([*same, submission(alice)]))
    assert len({outcome.task_id for outcome in outcomes}) == 2
    assert period_of(budget).reserved_calls == 2
    assert LedgerEntry.objects.filter(kind=Kind.RESERVE).count() == 2


def test_who_has_no_budget_costs_one_query(
    submit_many: SubmitMany, django_assert_num_queries: Any
) -> None:
    submit_many(5)
    tasks = list(Task.objects.all())
    with django_assert_num_queries(1):
        assert accounting.reserve(tasks, accounting.in_force(tasks)) == {}


# --- Settling -----------------------------------------------------------------------------------
def test_an_ended_task_is_charged_what_it_used(alice: User, submit_many: SubmitMany) -> None:
    budget = budget_of(alice, limit_tokens=10_000, limit_money=1, limit_calls=5)
    [submitted] = accepted(submit_many())
    end(submitted.task_id, usage=usage(1000, 50, cached=400))
    settlement.settle_ended_tasks()
    cost = Decimal(600 * 1 + 50 * 2) / 1_000_000 + Decimal(400) / 10_000_000
    period = period_of(budget)
    assert (period.reserved_calls, period.reserved_tokens) == (0, 0)
    assert period.reserved_money == 0
    assert (period.spent_calls, period.spent_tokens, period.spent_money) == (1, 1050, cost)
    entries = LedgerEntry.objects.filter(task_id=submitted.task_id, kind=Kind.SETTLE)
    assert sorted(entries.values_list("budget_id", flat=True), key=str) == [budget.pk, None]
    assert {(entry.tokens, entry.money) for entry in entries} == {(1050, cost)}


def test_every_ended_task_has_one_usage_entry_without_any_budget(submit_many: SubmitMany) -> None:
    used, never_ran = accepted(submit_many(2))
    end(used.task_id, usage=usage(7, 3))
    end(never_ran.task_id, "cancelled", attempt=0, started_at=None)
    settlement.settle_ended_tasks()
    entries = {str(entry.task_id): entry for entry in LedgerEntry.objects.all()}
    assert len(entries) == LedgerEntry.objects.usage().count() == 2
    assert (entries[used.task_id].kind, entries[used.task_id].tokens) == (Kind.SETTLE, 10)
    assert entries[never_ran.task_id].kind == Kind.RELEASE
    assert entries[never_ran.task_id].tokens == 0


def test_a_task_that_never_ran_gives_everything_back(alice: User, submit_many: SubmitMany) -> None:
    budget = budget_of(alice, limit_calls=1, limit_tokens=1000)
    [submitted] = accepted(submit_many())
    assert not accepted(submit_many())
    end(submitted.task_id, "cancelled", attempt=0)
    settlement.settle_ended_tasks()
    period = period_of(budget)
    assert (period.reserved_calls, period.reserved_tokens) == (0, 0)
    assert (period.spent_calls, period.spent_tokens) == (0, 0)
    assert accepted(submit_many())


def test_an_answer_that_broke_off_is_reckoned_by_its_text_within_the_reservation(
    alice: User, submit_many: SubmitMany
) -> None:
    short, long = accepted(submit_many(2, max_tokens=100))
    budget_of(alice, limit_tokens=1000)
    [held] = accepted(submit_many(1, max_tokens=100))
    for submitted, text in ((short, "x" * 41), (long, "x" * 1000), (held, "x" * 1000)):
        end(submitted.task_id, "cancelled", text=text)
    settlement.settle_ended_tasks()
    entries = {str(entry.task_id): entry for entry in LedgerEntry.objects.usage()}
    tokens = [entries[submitted.task_id].completion_tokens for submitted in (short, long, held)]
    assert tokens == [estimate(41), estimate(1000), 100]
    assert all(entry.is_estimated and entry.prompt_tokens for entry in entries.values())


def test_a_cancelled_task_waits_for_its_partial_answer(submit_many: SubmitMany) -> None:
    [submitted] = accepted(submit_many())
    end(submitted.task_id, "cancelled", last_event=0)
    assert settlement.settle_ended_tasks().tasks == 0
    Task.objects.filter(pk=submitted.task_id).update(last_event=2, text="Hello")
    assert settlement.settle_ended_tasks().tasks == 1
    assert LedgerEntry.objects.get().completion_tokens == estimate(5)


def test_settling_again_changes_nothing(alice: User, submit_many: SubmitMany) -> None:
    budget = budget_of(alice, limit_calls=5)
    [submitted] = accepted(submit_many())
    end(submitted.task_id, usage=usage(1, 1))
    settlement.settle_ended_tasks()
    Task.objects.update(needs_settling=True)
    # No delivery is made.
    assert settlement.settle_ended_tasks() == (1, 0)
    assert period_of(budget).spent_calls == 1
    assert LedgerEntry.objects.count() == 3


def test_a_reservation_is_settled_in_the_period_that_it_was_made_in(
    alice: User, submit_many: SubmitMany
) -> None:
    budget = budget_of(alice, limit_calls=5, period=Period.DAY)
    [submitted] = accepted(submit_many())
    yesterday = Period.DAY.start(timezone.now()) - timedelta(days=1)
    old = BudgetPeriod.objects.create(budget=budget, starts_at=yesterday, spent_calls=4)
    end(submitted.task_id, usage=usage(1, 1))
    settlement.settle_ended_tasks()
    old.refresh_from_db()
    assert old.spent_calls == 4
    assert budget.periods.exclude(pk=old.pk).get().spent_calls == 1


def test_a_deleted_budget_leaves_its_entries_and_hinders_nobody(
    alice: User, submit_many: SubmitMany
) -> None:
    budget = budget_of(alice, limit_calls=5)
    [submitted] = accepted(submit_many())
    budget.delete()
    end(submitted.task_id, usage=usage(1, 1))
    assert settlement.settle_ended_tasks().tasks == 1
    assert LedgerEntry.objects.count() == 3


def test_a_budget_near_its_end_is_reported_once(alice: User, submit_many: SubmitMany) -> None:
    budget_of(alice, limit_calls=5)
    reported = []
    for submitted in accepted(submit_many(5)):
        end(submitted.task_id, usage=usage(1, 1))
        with transaction.atomic():
            task = Task.objects.get(pk=submitted.task_id)
            near = accounting.close_ledger([msgspec.convert(task, EndedTask, from_attributes=True)])
        reported.append([(notice.user_id, notice.spent, notice.limit) for notice in near])
    assert reported == [[], [], [], [(alice.pk, "4 calls", "5 calls")], []]


def test_the_ledger_refuses_to_be_changed(submit_many: SubmitMany) -> None:
    [submitted] = accepted(submit_many())
    end(submitted.task_id, usage=usage(1, 1))
    settlement.settle_ended_tasks()
    with pytest.raises(IntegrityError, match="append-only"):
        LedgerEntry.objects.update(money=0)
    with pytest.raises(IntegrityError, match="append-only"):
        LedgerEntry.objects.all().delete()
    assert LedgerEntry.objects.count() == 1


def test_who_wants_to_know_is_mailed_once_that_a_budget_is_near_its_end(
    alice: User, submit_many: SubmitMany
) -> None:
    User.objects.filter(pk=alice.pk).update(email="alice@aily.example")
    NotificationPreferences.objects.create(user=alice, email_on_budget_near_end=True)
    budget_of(alice, limit_calls=5)
    for submitted in accepted(submit_many(5)):
        end(submitted.task_id, usage=usage(1, 1))
        settlement.settle_ended_tasks()
    mail = Delivery.objects.get()
    assert (mail.owner, mail.kind) == (alice, Delivery.Kind.EMAIL)
    assert mail.data["budget"] == "pocket money"
    assert (mail.data["spent"], mail.data["limit"]) == ("4 calls", "5 calls")


def test_nonsense_of_a_provider_holds_up_nobody(alice: User, submit_many: SubmitMany) -> None:
    budget = budget_of(alice, limit_tokens=10**12)
    mad, sane = accepted(submit_many(2))
    end(mad.task_id, usage={"prompt_tokens": -5, "completion_tokens": 10**30, "cached_tokens": 7})
    end(sane.task_id, usage=usage(1, 1))
    assert settlement.settle_ended_tasks().tasks == 2
    assert period_of(budget).spent_tokens == 10**9 + 2


def test_whose_tasks_go_with_their_conversation_pays_for_them(
    alice: User, client_of: ClientOf, submit_many: SubmitMany
) -> None:
    budget = budget_of(alice, limit_tokens=1000)
    conversation = Conversation.objects.create(owner=alice)
    [submitted] = accepted(submit_many())
    Task.objects.filter(pk=submitted.task_id).update(conversation=conversation)
    end(submitted.task_id, usage=usage(70, 7))
    gone = client_of(alice).delete(f"/api/conversations/{conversation.pk}")
    assert gone.status_code == 204
    assert not Task.objects.exists()
    assert period_of(budget).spent_tokens == 77
    assert LedgerEntry.objects.usage().count() == 1


def test_a_task_is_purged_only_once_it_is_in_the_ledger(submit_many: SubmitMany) -> None:
    [submitted] = accepted(submit_many())
    end(submitted.task_id, usage=usage(1, 1))
    soon = timezone.now() + timedelta(seconds=1)
    assert not retention.ended_before(soon).exists()
    settlement.settle_ended_tasks()
    assert sum(retention.purge(soon)) == 1
    assert LedgerEntry.objects.usage().count() == 1
