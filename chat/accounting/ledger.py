"""Closing the ledger of ended tasks: their usage is entered, and moves from reserved to spent.

The provider's own count is used if there is one. If an answer broke off without it, the tokens are
estimated from its text, on the safe side and never beyond what was reserved; without any answer
nothing is charged. Of several attempts only the last is known, and charged. A task that was never
started (it ended in the queue, or was answered by another task's call or the cache) costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

import msgspec
from django.db import transaction

from aily.database.rows import Row, fetch_rows
from chat.accounting.budgets import PeriodKey, lock_periods, store_counters
from chat.accounting.loops import take_changes
from chat.accounting.prices import PriceList, charge, load_models
from chat.accounting.refusals import plain
from chat.accounting.tokens import Tokens, estimate
from chat.models import BudgetPeriod, LedgerEntry
from chat.models.budgets import DIMENSIONS, Amount
from chat.models.ended import EndedTask
from chat.models.insertion import insert
from chat.observability import metrics

#: Spent share of a limit from which on a budget is near its end.
NEAR_END = Decimal("0.8")

_NO_CHANGE = Amount(0, 0, Decimal(0))
_NO_METADATA = msgspec.Raw(b"{}")

#: Each half has its own index; one condition for both kinds would read the whole ledger. An
#: array: a list of ids to `IN` costs three times as much.
_ENTRIES = """
SELECT task_id, budget_id, period_start, kind, prompt_tokens, completion_tokens, money, currency
  FROM chat_ledgerentry WHERE task_id = ANY(%(task_ids)s) AND kind = 'reserve'
 UNION ALL
SELECT task_id, budget_id, period_start, kind, prompt_tokens, completion_tokens, money, currency
  FROM chat_ledgerentry WHERE task_id = ANY(%(task_ids)s) AND kind <> 'reserve'
"""

#: Of answered tasks; the input of embeddings is one of their parameters. `first_bytes`: of a first
#: answer, which was then to be repaired.
_TEXT_BYTES = """
SELECT id, octet_length(
         (CASE kind WHEN 'embeddings' THEN params -> 'input' ELSE messages END)::text
       ) AS prompt_bytes,
       octet_length(text) + octet_length(reasoning) AS answer_bytes,
       coalesce(octet_length(repair ->> 'text'), 0) AS first_bytes,
       kind = 'embeddings' AS has_vectors
  FROM chat_task WHERE id = ANY(%(task_ids)s)
   AND (text <> '' OR reasoning <> '' OR repair IS NOT NULL
        OR (kind = 'embeddings' AND status = 'succeeded'))
"""

_TOOL_COSTS = """
SELECT task_id, currency, sum(price) AS money FROM chat_toolcall
 WHERE task_id = ANY(%(task_ids)s) AND runs > 0 AND price > 0 GROUP BY task_id, currency
"""


@dataclass(frozen=True, slots=True)
class NearEnd:
    """A budget of which `NEAR_END` has just been spent; reported once a period.

    `key` names budget and period; `spent` and `limit` are for people, such as "4.20 USD".
    """

    user_id: int
    key: str
    budget: str
    spent: str
    limit: str


class _StoredEntry(Row, frozen=True):
    """An entry that a task has already: a reservation, or a closing entry."""

    task_id: UUID
    budget_id: int | None
    period_start: datetime | None
    kind: str
    prompt_tokens: int
    completion_tokens: int
    money: Decimal
    currency: str

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class _TextBytes(Row, frozen=True):
    id: UUID
    prompt_bytes: int
    answer_bytes: int
    first_bytes: int
    #: Its answer is vectors, which are not charged.
    has_vectors: bool

    def last_call(self) -> Tokens:
        """Estimated tokens of the call whose answer the row has."""
        if not self.answer_bytes and not self.has_vectors:
            return Tokens()
        return Tokens(
            estimate(self.prompt_bytes + self.first_bytes), 0, estimate(self.answer_bytes)
        )

    def all_calls(self) -> Tokens:
        """Estimate the tokens of the last call and, if it was a repair, of the call before."""
        last = self.last_call()
        if not self.first_bytes:
            return last
        return last.plus(Tokens(estimate(self.prompt_bytes), 0, estimate(self.first_bytes)))


class _ToolCost(Row, frozen=True):
    task_id: UUID
    currency: str
    money: Decimal


class _Used(msgspec.Struct, frozen=True):
    tokens: Tokens
    is_estimated: bool
    money: Decimal
    currency: str


class _Entry(msgspec.Struct, frozen=True):
    """A closing entry: the columns of `LedgerEntry`. 0.4 µs, an instance of that takes 12."""

    task_id: UUID
    owner_id: int
    api_key_id: int | None
    model_id: int
    scene_id: int | None
    budget_id: int | None
    period_start: datetime | None
    kind: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    money: Decimal
    currency: str
    is_estimated: bool
    at: datetime
    metadata: msgspec.Raw

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def close_ledger(tasks: Sequence[EndedTask]) -> list[NearEnd]:
    """Enter what ended tasks used; tasks whose ledger is closed already are left out.

    Call it in a transaction that holds the locks of the tasks. Returns the budgets that this
    brought near their end.
    """
    reservations: defaultdict[UUID, list[_StoredEntry]] = defaultdict(list)
    closed: set[UUID] = set()
    task_ids = [task.id for task in tasks]
    for entry in fetch_rows(_StoredEntry, _ENTRIES, {"task_ids": task_ids}):
        if entry.kind == LedgerEntry.Kind.RESERVE:
            reservations[entry.task_id].append(entry)
        else:
            closed.add(entry.task_id)
    open_tasks = [task for task in tasks if task.id not in closed]
    if not open_tasks:
        return []
    entries = _closing_entries(open_tasks, reservations)
    insert(LedgerEntry, entries)
    reserved = {
        (reservation.task_id, reservation.budget_id): reservation
        for own in reservations.values()
        for reservation in own
    }
    changes = take_changes([task.id for task in open_tasks if task.has_tools])
    return _move_to_spent(entries, reserved, changes)


# --- Usage --------------------------------------------------------------------------------------
def _closing_entries(
    tasks: Sequence[EndedTask], reservations: dict[UUID, list[_StoredEntry]]
) -> list[_Entry]:
    """For each task one entry without a budget, its usage, and one for each of its reservations."""
    models = load_models(task.model_id for task in tasks)
    prices = {model_id: PriceList.of(model) for model_id, model in models.items()}
    counted = {task.id: Tokens.of_usage(task.usage) for task in tasks if task.started_at}
    estimates = _estimates(tasks, counted)
    tool_costs = _tool_costs([task.id for task in tasks if task.has_tools])
    usages, entries = [], []
    for task in tasks:
        own = reservations.get(task.id, [])
        tokens, is_estimated = counted.get(task.id, Tokens()), task.id in estimates
        if is_estimated:
            tokens = _within(tokens.plus(estimates[task.id]), own)
        price = prices[task.model_id].at(task.started_at or task.created_at, task.deployment)
        money = charge(price, tokens) + tool_costs.get((task.id, price.currency), Decimal(0))
        used = _Used(tokens, is_estimated, money, price.currency)
        usages.append(_entry(task, used))
        entries += [usages[-1], *(_entry(task, used, reservation) for reservation in own)]
    names = {model_id: model.name for model_id, model in models.items()}
    transaction.on_commit(partial(_count, tasks, usages, names))
    return entries


def _tool_costs(task_ids: Sequence[UUID]) -> dict[tuple[UUID, str], Decimal]:
    """What the tool calls that were made cost, by task and currency; no query without tasks.

    An entry has one currency, that of its model: tools with a price in another are not in it.
    """
    if not task_ids:
        return {}
    rows = fetch_rows(_ToolCost, _TOOL_COSTS, {"task_ids": list(task_ids)})
    return {(row.task_id, row.currency): row.money for row in rows}


def _estimates(tasks: Sequence[EndedTask], counted: dict[UUID, Tokens]) -> dict[UUID, Tokens]:
    """Estimated tokens of those calls that the provider did not count, where they have any text."""
    partly = {task.id for task in tasks if task.is_partly_counted and task.id in counted}
    uncounted = {task_id for task_id, tokens in counted.items() if not tokens.total}
    if not partly and not uncounted:
        return {}
    rows = fetch_rows(_TextBytes, _TEXT_BYTES, {"task_ids": list(partly | uncounted)})
    found = {row.id: row.all_calls() if row.id in uncounted else row.last_call() for row in rows}
    return {task_id: tokens for task_id, tokens in found.items() if tokens.total}


def _within(tokens: Tokens, reservations: Sequence[_StoredEntry]) -> Tokens:
    """An estimate, cut to what was reserved."""
    prompt = min([tokens.prompt, *(entry.prompt_tokens for entry in reservations)])
    completion = min([tokens.completion, *(entry.completion_tokens for entry in reservations)])
    return Tokens(prompt, min(tokens.cached, prompt), completion)


def _entry(task: EndedTask, used: _Used, reservation: _StoredEntry | None = None) -> _Entry:
    money, currency = used.money, used.currency
    if reservation is not None and currency != reservation.currency:
        # A budget counts its own currency alone. One with a money limit refuses tasks in any other
        # currency, so only a price that changed meanwhile leads here: the reservation is charged.
        money, currency = reservation.money, reservation.currency
    return _Entry(
        task_id=task.id,
        owner_id=task.owner_id,
        api_key_id=task.api_key_id,
        model_id=task.model_id,
        scene_id=task.scene_id,
        budget_id=reservation.budget_id if reservation else None,
        period_start=reservation.period_start if reservation else None,
        kind=LedgerEntry.Kind.SETTLE if task.started_at else LedgerEntry.Kind.RELEASE,
        prompt_tokens=used.tokens.prompt,
        cached_tokens=used.tokens.cached,
        completion_tokens=used.tokens.completion,
        money=money if task.started_at else Decimal(0),
        currency=currency,
        is_estimated=used.is_estimated,
        at=task.finished_at,
        metadata=_NO_METADATA if reservation else task.labels,
    )


def _count(tasks: Sequence[EndedTask], usages: Sequence[_Entry], names: dict[int, str]) -> None:
    by_model: defaultdict[tuple[int, str], list[_Entry]] = defaultdict(list)
    for task, entry in zip(tasks, usages, strict=True):
        by_model[entry.model_id, entry.currency].append(entry)
        seconds = (task.finished_at - task.created_at).total_seconds()
        metrics.task_seconds(names[task.model_id], task.status).observe(seconds)
    for (model_id, currency), entries in by_model.items():
        metrics.count_used(
            names[model_id],
            prompt=sum(entry.prompt_tokens for entry in entries),
            cached=sum(entry.cached_tokens for entry in entries),
            completion=sum(entry.completion_tokens for entry in entries),
            money=float(sum(entry.money for entry in entries)),
            currency=currency,
        )


# --- Counters -----------------------------------------------------------------------------------
def _move_to_spent(
    entries: Sequence[_Entry],
    reservations: dict[tuple[UUID, int | None], _StoredEntry],
    changes: dict[tuple[UUID, int], Amount],
) -> list[NearEnd]:
    """Move closed entries from reserved to spent, in the period that they were reserved in."""
    closing = [entry for entry in entries if entry.budget_id is not None]
    periods = lock_periods(_period_key(entry) for entry in closing)
    shares = {key: _most_spent(period)[0] for key, period in periods.items()}
    for entry in closing:
        # None: the budget was deleted, and its counters with it.
        if period := periods.get(_period_key(entry)):
            reservation = reservations[entry.task_id, entry.budget_id]
            calls = 1 if entry.kind == LedgerEntry.Kind.SETTLE else 0
            more = changes.get((entry.task_id, period.budget_id), _NO_CHANGE)
            period.move_to_spent(
                Amount(1, reservation.tokens + more.tokens, reservation.money + more.money),
                Amount(calls, entry.tokens, entry.money),
            )
    if periods:
        store_counters(periods.values())
    return [
        _near_end(period)
        for key, period in periods.items()
        if shares[key] < NEAR_END <= _most_spent(period)[0]
    ]


def _period_key(entry: _Entry) -> PeriodKey:
    if entry.budget_id is None or entry.period_start is None:
        raise ValueError("This entry belongs to no budget.")
    return entry.budget_id, entry.period_start


def _most_spent(period: BudgetPeriod) -> tuple[Decimal, str]:
    """The limit with the highest spent share, as (share, name)."""
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
