"""Reserving: what a task may use is taken from its budgets before it is accepted.

The counters of a budget's period change only under the lock of their row, so that two processes
never reserve the same amount twice. Rows are locked in the order of their ids, as the first step of
a transaction, so that two transactions never wait for each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.utils import timezone

from aily.database.rows import Row, Statement, execute
from chat.accounting.prices import highest_costs, load_models
from chat.accounting.refusals import refusal
from chat.accounting.tokens import Tokens, max_usage
from chat.exceptions import BudgetExceeded
from chat.models import BudgetPeriod, LedgerEntry, LLMModel, Task
from chat.models.budgets import COUNTERS, Amount, Period

# SQL, as every batch of submits runs it.
_IN_FORCE = """
SELECT b.id, b.user_id, b.api_key_id, (%(starts)s::jsonb ->> b.period)::timestamptz AS start,
       EXISTS (SELECT FROM chat_budgetperiod p WHERE p.budget_id = b.id
                  AND p.starts_at = (%(starts)s::jsonb ->> b.period)::timestamptz) AS has_period
  FROM chat_budget b
 WHERE b.is_active AND (b.user_id = ANY(%(user_ids)s) OR b.api_key_id = ANY(%(api_key_ids)s))
"""

_STORE = """
UPDATE chat_budgetperiod p
   SET reserved_calls = v.reserved_calls, reserved_tokens = v.reserved_tokens,
       reserved_money = v.reserved_money, spent_calls = v.spent_calls,
       spent_tokens = v.spent_tokens, spent_money = v.spent_money
  FROM unnest(%(id)s::bigint[], %(reserved_calls)s::bigint[], %(reserved_tokens)s::bigint[],
              %(reserved_money)s::numeric[], %(spent_calls)s::bigint[], %(spent_tokens)s::bigint[],
              %(spent_money)s::numeric[])
    AS v(id, reserved_calls, reserved_tokens, reserved_money, spent_calls, spent_tokens,
         spent_money)
 WHERE p.id = v.id
"""
#: A budget's id, and when one of its periods began.
PeriodKey = tuple[int, datetime]


class BudgetInForce(Row, frozen=True):
    """An active budget of a user or of an API key, and its period at a moment."""

    id: int
    user_id: int | None
    api_key_id: int | None
    start: datetime
    #: Whether the period has a row already.
    has_period: bool


@dataclass(frozen=True, slots=True)
class BudgetsInForce:
    """The active budgets of some users and API keys, by their ids, at a moment."""

    at: datetime
    by_user: dict[int, list[PeriodKey]]
    by_api_key: dict[int, list[PeriodKey]]

    def of(self, task: Task) -> list[PeriodKey]:
        by_key = self.by_api_key.get(task.api_key_id, []) if task.api_key_id else []
        return [*self.by_user.get(task.owner_id, []), *by_key]


def in_force(tasks: Iterable[Task]) -> BudgetsInForce:
    """Look up the budgets of these tasks, in one query.

    Call it outside the transaction of `reserve`, which locks the rows of new periods: they must be
    committed before.
    """
    users, keys, at = set(), set(), timezone.now()
    for task in tasks:
        users.add(task.owner_id)
        if task.api_key_id is not None:
            keys.add(task.api_key_id)
    return in_force_from(in_force_query(users, keys, at).fetch(), at)


def in_force_query(
    user_ids: Collection[int], api_key_ids: Collection[int], at: datetime
) -> Statement[BudgetInForce]:
    """The statement whose rows `in_force_from` takes, to be run together with others."""
    starts = json.dumps({kind.value: kind.start(at).isoformat() for kind in Period})
    params = {"starts": starts, "user_ids": list(user_ids), "api_key_ids": list(api_key_ids)}
    return Statement(BudgetInForce, _IN_FORCE, params, is_prepared=True)


def in_force_from(budgets: Sequence[BudgetInForce], at: datetime) -> BudgetsInForce:
    """Arrange the rows of `in_force_query`, and insert the rows of new periods."""
    found = BudgetsInForce(at, defaultdict(list), defaultdict(list))
    for budget in budgets:
        if budget.user_id is not None:
            found.by_user[budget.user_id].append((budget.id, budget.start))
        elif budget.api_key_id is not None:
            found.by_api_key[budget.api_key_id].append((budget.id, budget.start))
    missing = [(budget.id, budget.start) for budget in budgets if not budget.has_period]
    if missing:
        BudgetPeriod.objects.bulk_create(
            [BudgetPeriod(budget_id=budget_id, starts_at=start) for budget_id, start in missing],
            ignore_conflicts=True,
        )
    return found


def lock_periods(keys: Iterable[PeriodKey]) -> dict[PeriodKey, BudgetPeriod]:
    """Lock the rows of these periods, in the order of their ids."""
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
    rows = list(periods)
    execute(_STORE, {name: [getattr(row, name) for row in rows] for name in ("id", *COUNTERS)})


# --- Reserving ----------------------------------------------------------------------------------
@dataclass(slots=True)
class _Reserving:
    """The reservations of one transaction: a task reserves in all of its budgets, or in none."""

    at: datetime
    periods: dict[PeriodKey, BudgetPeriod]
    models: dict[int, LLMModel]
    entries: list[LedgerEntry] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)

    def reserve(self, task: Task, keys: Sequence[PeriodKey]) -> BudgetExceeded | None:
        tokens = max_usage(task)
        models = (self.models[model_id] for model_id in (task.model_id, *task.fallbacks))
        costs = highest_costs(models, tokens, self.at)
        wanted = []
        for key in keys:
            period = self.periods.get(key)
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
    """Take what the tasks may use from their budgets. Returns the refused tasks, each with why.

    Call it first in the transaction that inserts the other tasks. A task under a budget that names
    no `max_tokens` is given its model's.
    """
    budgeted = [(task, keys) for task in tasks if (keys := found.of(task))]
    if not budgeted:
        return {}
    # Before the locks: while they are held no other process can reserve.
    models = load_models(
        model_id for task, _ in budgeted for model_id in (task.model_id, *task.fallbacks)
    )
    periods = lock_periods(key for _, keys in budgeted for key in keys)
    reserving = _Reserving(found.at, periods, models)
    refused = {
        task.pk: problem
        for task, keys in budgeted
        if (problem := reserving.reserve(task, keys)) is not None
    }
    if reserving.entries:
        changed = [period for period in periods.values() if period.pk in reserving.changed]
        store_counters(changed)
        LedgerEntry.objects.bulk_create(reserving.entries)
    return refused
