"""Settling: what ended tasks used goes into the ledger, and from reserved to spent.

The provider's own count is used where there is one. Of an answer that broke off without it, the
tokens are reckoned from its text, on the safe side and never beyond what was reserved; without any
text nothing is charged. Of several attempts only the last is known, and charged. What was never
started (it waited until its end, or was answered by another's call or the cache) costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from aily.database import fetch_all
from chat import metrics
from chat.accounting.budgets import PeriodKey, entry_of, lock_periods, store_counters
from chat.accounting.prices import charge, load_models, price_at
from chat.accounting.refusals import plain
from chat.accounting.tokens import Tokens, estimate
from chat.models import BudgetPeriod, LedgerEntry, LLMModel, Task
from chat.models.accounting import DIMENSIONS, Amount
from chat.models.insertion import insert

#: Spent share of a limit from which on a budget is near its end.
NEAR_END = Decimal("0.8")

_TEXT_BYTES = """
SELECT id, octet_length(messages::text), octet_length(text) + octet_length(reasoning)
  FROM chat_task WHERE id = ANY(%s) AND (text <> '' OR reasoning <> '')
"""


@dataclass(frozen=True, slots=True)
class NearEnd:
    """A budget of which `NEAR_END` has just been spent; said once a period.

    `key` names budget and period; `spent` and `limit` are for people, such as "4.20 USD".
    """

    user_id: int
    key: str
    budget: str
    spent: str
    limit: str


@dataclass(frozen=True, slots=True)
class _Used:
    tokens: Tokens
    is_estimated: bool
    money: Decimal
    currency: str


def settle(tasks: Sequence[Task]) -> list[NearEnd]:
    """Close the ledger of ended tasks; of those that are closed already, nothing.

    Belongs into a transaction that holds the locks of the tasks. Needs their usage, but not their
    texts. Returns the budgets that this brought near their end.
    """
    reservations: defaultdict[UUID, list[LedgerEntry]] = defaultdict(list)
    closed: set[UUID] = set()
    for entry in _entries_of(tasks):
        if entry.kind == LedgerEntry.Kind.RESERVE:
            reservations[entry.task_id].append(entry)
        else:
            closed.add(entry.task_id)
    open_tasks = [task for task in tasks if task.pk not in closed]
    if not open_tasks:
        return []
    entries = _closing_entries(open_tasks, reservations)
    insert(entries)
    reserved = {(one.task_id, one.budget_id): one for own in reservations.values() for one in own}
    return _move(entries, reserved)


def _entries_of(tasks: Sequence[Task]) -> QuerySet[LedgerEntry]:
    """What the ledger has of them. Each half has an index of its own; asked for at once, without
    the kinds, they would take a walk through the whole ledger."""
    entries = LedgerEntry.objects.filter(task_id__in=[task.pk for task in tasks]).order_by()
    is_reservation = Q(kind=LedgerEntry.Kind.RESERVE)
    found: QuerySet[LedgerEntry] = entries.filter(is_reservation).union(
        entries.exclude(is_reservation), all=True
    )
    return found


# --- Usage --------------------------------------------------------------------------------------
def _closing_entries(
    tasks: Sequence[Task], reservations: dict[UUID, list[LedgerEntry]]
) -> list[LedgerEntry]:
    models = load_models(task.model_id for task in tasks)
    estimates = _estimates([task for task in tasks if not Tokens.of_usage(task.usage).total])
    entries = []
    for task in tasks:
        own = reservations.get(task.pk, [])
        used = _used(task, models[task.model_id], estimates.get(task.pk), own)
        entries.append(_entry(task, used))
        transaction.on_commit(partial(_count, entries[-1], models[task.model_id].name, task))
        entries += [_entry(task, used, reservation) for reservation in own]
    return entries


def _count(entry: LedgerEntry, model: str, task: Task) -> None:
    metrics.count_used(
        model,
        prompt=entry.prompt_tokens,
        cached=entry.cached_tokens,
        completion=entry.completion_tokens,
        money=float(entry.money),
        currency=entry.currency,
    )
    seconds = (entry.at - task.created_at).total_seconds()
    metrics.task_seconds(model, task.status).observe(seconds)


def _estimates(tasks: Sequence[Task]) -> dict[UUID, Tokens]:
    """Tokens of those that began to answer."""
    ids = [task.pk for task in tasks if task.started_at]
    if not ids:
        return {}
    return {
        task_id: Tokens(estimate(prompt_bytes), 0, estimate(text_bytes))
        for task_id, prompt_bytes, text_bytes in fetch_all(_TEXT_BYTES, [ids])
    }


def _used(
    task: Task, model: LLMModel, estimated: Tokens | None, reservations: Sequence[LedgerEntry]
) -> _Used:
    tokens = Tokens.of_usage(task.usage) if task.started_at else Tokens()
    if estimated is not None:
        tokens = estimated
        for one in reservations:
            tokens = Tokens(
                min(tokens.prompt, one.prompt_tokens),
                0,
                min(tokens.completion, one.completion_tokens),
            )
    at = task.started_at or task.created_at
    price = price_at(model, at)
    return _Used(tokens, estimated is not None, charge(price, tokens), price.currency)


def _entry(task: Task, used: _Used, reservation: LedgerEntry | None = None) -> LedgerEntry:
    money, currency = used.money, used.currency
    if reservation is not None and currency != reservation.currency:
        # A budget counts its own currency alone. One with a money limit refuses tasks of any
        # other, so that only a price made meanwhile leads here: then the worst case is charged.
        money, currency = reservation.money, reservation.currency
    return entry_of(
        task,
        budget_id=reservation.budget_id if reservation else None,
        period_start=reservation.period_start if reservation else None,
        kind=LedgerEntry.Kind.SETTLE if task.started_at else LedgerEntry.Kind.RELEASE,
        prompt_tokens=used.tokens.prompt,
        cached_tokens=used.tokens.cached,
        completion_tokens=used.tokens.completion,
        money=money if task.started_at else Decimal(0),
        currency=currency,
        is_estimated=used.is_estimated,
        at=task.finished_at or timezone.now(),
    )


# --- Counters -----------------------------------------------------------------------------------
def _move(
    entries: Sequence[LedgerEntry], reservations: dict[tuple[UUID, int | None], LedgerEntry]
) -> list[NearEnd]:
    """From reserved to spent, in the period that it was reserved in."""
    closing = [one for one in entries if one.budget_id is not None]
    periods = lock_periods(_period_key(one) for one in closing)
    shares = {key: _most_spent(period)[0] for key, period in periods.items()}
    for entry in closing:
        # None: the budget was deleted, and its counters with it.
        if period := periods.get(_period_key(entry)):
            reservation = reservations[entry.task_id, entry.budget_id]
            calls = 1 if entry.kind == LedgerEntry.Kind.SETTLE else 0
            period.settle(
                Amount(1, reservation.tokens, reservation.money),
                Amount(calls, entry.tokens, entry.money),
            )
    if periods:
        store_counters(periods.values())
    return [
        _near_end(period)
        for key, period in periods.items()
        if shares[key] < NEAR_END <= _most_spent(period)[0]
    ]


def _period_key(entry: LedgerEntry) -> PeriodKey:
    if entry.budget_id is None or entry.period_start is None:
        raise ValueError("This entry belongs to no budget.")
    return entry.budget_id, entry.period_start


def _most_spent(period: BudgetPeriod) -> tuple[Decimal, str]:
    """The limit of which the most is spent, as (spent share, name)."""
    shares = []
    for name in DIMENSIONS:
        limit = getattr(period.budget, f"limit_{name}")
        if limit is not None:
            spent = Decimal(getattr(period, f"spent_{name}"))
            shares.append((spent / limit if limit else Decimal(1), name))
    return max(shares)


def _near_end(period: BudgetPeriod) -> NearEnd:
    budget, (_, name) = period.budget, _most_spent(period)
    unit = budget.currency if name == "money" else name
    owner_id = budget.user_id or (budget.api_key.owner_id if budget.api_key else None)
    if owner_id is None:
        raise ValueError("A budget is a user's or an API key's.")
    return NearEnd(
        user_id=owner_id,
        key=f"budget:{budget.pk}:{period.starts_at:%Y-%m-%d}",
        budget=budget.name,
        spent=f"{plain(getattr(period, f'spent_{name}'))} {unit}",
        limit=f"{plain(getattr(budget, f'limit_{name}'))} {unit}",
    )
