"""Reserving: what a task may use is taken from its budgets before it is accepted.

The counters of a budget's period change only under the lock of their row, so that parallel
processes never reserve the same rest twice. Rows are locked in the order of their ids, before
anything else of the transaction is, so that two transactions never wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.utils import timezone

from chat.accounting.prices import highest_costs, load_models
from chat.accounting.refusals import refusal
from chat.accounting.tokens import Tokens, most
from chat.exceptions import BudgetExceeded
from chat.models import Budget, BudgetPeriod, LedgerEntry, LLMModel, Task
from chat.models.accounting import COUNTERS, Amount, Period

#: Raw, as every batch of submits asks it.
_IN_FORCE = """
SELECT * FROM chat_budget
 WHERE is_active AND (user_id = ANY(%s) OR api_key_id = ANY(%s)) ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class BudgetsInForce:
    """The active budgets of some tasks, each with a row for the period around `at`."""

    at: datetime
    budgets: Sequence[Budget]

    def of(self, task: Task) -> list[Budget]:
        return [
            one
            for one in self.budgets
            if (one.user_id == task.owner_id if one.user_id else one.api_key_id == task.api_key_id)
        ]


def in_force(tasks: Iterable[Task]) -> BudgetsInForce:
    """Look up the budgets of these tasks: one query where there are none.

    Call it outside the transaction of `reserve`: the rows of new periods must be there already
    when that begins to lock.
    """
    owners, keys, at = set(), set(), timezone.now()
    for task in tasks:
        owners.add(task.owner_id)
        if task.api_key_id is not None:
            keys.add(task.api_key_id)
    budgets = list(Budget.objects.raw(_IN_FORCE, [list(owners), list(keys)]))
    if budgets:
        _create_periods(budgets, at)
    return BudgetsInForce(at, budgets)


def _create_periods(budgets: Sequence[Budget], at: datetime) -> None:
    starts = {budget.pk: Period(budget.period).start(at) for budget in budgets}
    known = BudgetPeriod.objects.filter(budget__in=starts, starts_at__in=set(starts.values()))
    there = set(known.values_list("budget_id", "starts_at"))
    missing = [
        BudgetPeriod(budget_id=budget_id, starts_at=start)
        for budget_id, start in starts.items()
        if (budget_id, start) not in there
    ]
    if missing:
        BudgetPeriod.objects.bulk_create(missing, ignore_conflicts=True)


def lock_periods(keys: Iterable[tuple[int, datetime]]) -> dict[tuple[int, datetime], BudgetPeriod]:
    """Lock the rows of (budget id, start of the period), in the one order that all keep to."""
    wanted = set(keys)
    if not wanted:
        return {}
    rows = (
        BudgetPeriod.objects.filter(
            budget__in={budget_id for budget_id, _ in wanted},
            starts_at__in={start for _, start in wanted},
        )
        .select_related("budget")
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    )
    return {
        (row.budget_id, row.starts_at): row
        for row in rows
        if (row.budget_id, row.starts_at) in wanted
    }


def store_counters(periods: Iterable[BudgetPeriod]) -> None:
    """Write the counters of locked rows."""
    BudgetPeriod.objects.bulk_update(list(periods), COUNTERS)


# --- Reserving ----------------------------------------------------------------------------------
@dataclass(slots=True)
class _Reserving:
    """The reservations of one transaction: of each task in all of its budgets, or in none."""

    at: datetime
    periods: dict[tuple[int, datetime], BudgetPeriod]
    models: dict[int, LLMModel]
    entries: list[LedgerEntry] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)

    def reserve(self, task: Task, budgets: Sequence[Budget]) -> BudgetExceeded | None:
        tokens = most(task)
        models = (self.models[one] for one in (task.model_id, *task.fallbacks))
        costs = highest_costs(models, tokens, self.at)
        wanted = []
        for budget in budgets:
            period = self.periods.get((budget.pk, Period(budget.period).start(self.at)))
            if period is None:  # deleted meanwhile
                continue
            amount = Amount(1, tokens.total, costs.get(period.budget.currency, Decimal(0)))
            problem = refusal(period, amount, costs, self.at)
            if problem is not None:
                return problem
            wanted.append((period, amount))
        for period, amount in wanted:
            period.reserve(amount)
            self.changed.add(period.pk)
            self.entries.append(self._entry(task, period, tokens, amount.money))
        return None

    def _entry(
        self, task: Task, period: BudgetPeriod, tokens: Tokens, money: Decimal
    ) -> LedgerEntry:
        return LedgerEntry(
            task_id=task.pk,
            owner_id=task.owner_id,
            api_key_id=task.api_key_id,
            model_id=task.model_id,
            scene_id=task.scene_id,
            budget_id=period.budget_id,
            period_start=period.starts_at,
            kind=LedgerEntry.Kind.RESERVE,
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            money=money,
            currency=period.budget.currency,
            at=self.at,
        )


def reserve(tasks: Sequence[Task], found: BudgetsInForce) -> dict[UUID, BudgetExceeded]:
    """Take what the tasks may use from their budgets. Returns why which of them may not run.

    Belongs into the transaction that inserts the others, before any other statement of it. A task
    under a budget that names no `max_tokens` is given its model's.
    """
    budgeted = [(task, budgets) for task in tasks if (budgets := found.of(task))]
    if not budgeted:
        return {}
    keys = {(one.pk, Period(one.period).start(found.at)) for _, own in budgeted for one in own}
    periods = lock_periods(keys)
    models = load_models(one for task, _ in budgeted for one in (task.model_id, *task.fallbacks))
    books = _Reserving(found.at, periods, models)
    refused = {
        task.pk: problem
        for task, budgets in budgeted
        if (problem := books.reserve(task, budgets)) is not None
    }
    if books.entries:
        store_counters(one for one in periods.values() if one.pk in books.changed)
        LedgerEntry.objects.bulk_create(books.entries)
    return refused
