"""Budgets of tasks that wait for their users: what they do not need meanwhile is free for others,
and is reserved anew when they go on.

Rows are locked as settlement does: the tasks before the periods of their budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from django.utils import timezone

from aily.database.rows import Row, fetch_rows
from chat.accounting.budgets import PeriodKey, lock_periods, store_counters
from chat.accounting.prices import PriceList, charge, load_models
from chat.accounting.refusals import refusal
from chat.accounting.tokens import Tokens
from chat.exceptions import BudgetExceeded
from chat.models.budgets import Amount
from chat.models.ledger import ReservationChange

_RESERVED = """
SELECT t.id AS task_id, t.model_id, t.usage::text AS usage, t.deployment,
       coalesce(t.started_at, t.created_at) AS at, e.budget_id, e.period_start,
       e.prompt_tokens + e.completion_tokens AS tokens, e.money
  FROM chat_task t JOIN chat_ledgerentry e ON e.task_id = t.id AND e.kind = 'reserve'
 WHERE t.id = ANY(%(task_ids)s) {condition} ORDER BY t.id FOR NO KEY UPDATE OF t
"""
_WAITING = _RESERVED.format(condition="AND t.status = 'requires_action'")
_GOING_ON = _RESERVED.format(
    condition="""AND EXISTS (SELECT FROM chat_reservationchange c
                 WHERE c.task_id = t.id AND c.budget_id = e.budget_id AND c.is_waiting)"""
)


class _Reserved(Row, frozen=True):
    """What a task reserved of a budget when it was accepted, and what it has used."""

    task_id: UUID
    model_id: int
    #: JSON.
    usage: str
    deployment: str
    at: datetime
    budget_id: int
    period_start: datetime
    tokens: int
    money: Decimal

    @property
    def key(self) -> PeriodKey:
        return self.budget_id, self.period_start

    @property
    def used(self) -> Tokens:
        return Tokens.of_usage(msgspec.json.decode(self.usage))


def free_while_waiting(task_ids: Sequence[UUID]) -> None:
    """Give back what these tasks have reserved and not used, if they wait for their users. Call it
    in a transaction."""
    found = fetch_rows(_Reserved, _WAITING, {"task_ids": list(task_ids)})
    if not found:
        return
    periods, costs = lock_periods(entry.key for entry in found), _costs(found)
    before = _changes(found)
    for entry in found:
        if (period := periods.get(entry.key)) is None:
            continue
        old = before.get((entry.task_id, entry.budget_id))
        tokens, money = entry.used.total - entry.tokens, costs[entry.task_id] - entry.money
        period.reserve(_difference(old, tokens, money))
        _store(entry, tokens, money, is_waiting=True)
    store_counters(periods.values())


def reserve_again(task_ids: Sequence[UUID]) -> dict[UUID, BudgetExceeded]:
    """Reserve another turn of the model, beside what was used, for those of these tasks that have
    waited for their users. Returns those whose budgets do not allow it. Call it in a transaction
    that holds the locks of the tasks."""
    found = fetch_rows(_Reserved, _GOING_ON, {"task_ids": list(task_ids)})
    if not found:
        return {}
    periods, costs = lock_periods(entry.key for entry in found), _costs(found)
    before, at = _changes(found), timezone.now()
    refused: dict[UUID, BudgetExceeded] = {}
    for entry in found:
        period = periods.get(entry.key)
        if period is None or entry.task_id in refused:
            continue
        tokens, money = entry.used.total, costs[entry.task_id]
        more = _difference(before.get((entry.task_id, entry.budget_id)), tokens, money)
        problem = refusal(period, more, {period.budget.currency: more.money}, at)
        if problem is not None:
            refused[entry.task_id] = problem
            continue
        period.reserve(more)
        _store(entry, tokens, money, is_waiting=False)
    store_counters(periods.values())
    return refused


def take_changes(task_ids: Sequence[UUID]) -> dict[tuple[UUID, int], Amount]:
    """What these tasks have reserved beyond their entries, by task and budget, as they end."""
    if not task_ids:
        return {}
    rows = ReservationChange.objects.filter(task_id__in=task_ids)
    found = {(row.task_id, row.budget_id): Amount(0, row.tokens, row.money) for row in rows}
    if found:
        rows.delete()
    return found


def _costs(found: Sequence[_Reserved]) -> Mapping[UUID, Decimal]:
    """What each task has cost so far."""
    models = load_models(entry.model_id for entry in found)
    prices = {model_id: PriceList.of(model) for model_id, model in models.items()}
    return {
        entry.task_id: charge(prices[entry.model_id].at(entry.at, entry.deployment), entry.used)
        for entry in found
    }


def _changes(found: Sequence[_Reserved]) -> dict[tuple[UUID, int], ReservationChange]:
    rows = ReservationChange.objects.filter(task_id__in={entry.task_id for entry in found})
    return {(row.task_id, row.budget_id): row for row in rows}


def _difference(old: ReservationChange | None, tokens: int, money: Decimal) -> Amount:
    before = (old.tokens, old.money) if old is not None else (0, Decimal(0))
    return Amount(0, tokens - before[0], money - before[1])


def _store(entry: _Reserved, tokens: int, money: Decimal, *, is_waiting: bool) -> None:
    ReservationChange.objects.update_or_create(
        task_id=entry.task_id,
        budget_id=entry.budget_id,
        defaults={"tokens": tokens, "money": money, "is_waiting": is_waiting},
    )
