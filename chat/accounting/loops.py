"""Budgets of tasks that call tools. The ledger has what a task reserved for its first turn when it
was accepted; a ReservationChange what it has reserved besides, or less.

- A further turn of the model is reserved before the task is queued for it, and the price of tools
  before they are called: so a task passes no budget.
- While a task waits for its user, only what it has used is reserved.

Rows are locked as settlement does: the tasks before the periods of their budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from django.db import transaction
from django.utils import timezone

from aily.database.rows import Row, fetch_rows
from chat.accounting.budgets import PeriodKey, lock_periods, store_counters
from chat.accounting.prices import PriceList, charge, highest_costs, load_models
from chat.accounting.refusals import refusal
from chat.accounting.tokens import MAX_COUNT, Tokens, estimate
from chat.exceptions import BudgetExceeded
from chat.models import BudgetPeriod, LLMModel
from chat.models.budgets import Amount
from chat.models.ledger import ReservationChange

#: What stands around a result in the prompt: the note that it is data, ids and names.
RESULT_OVERHEAD_BYTES = 300

_RESERVED = """
SELECT t.id AS task_id, t.model_id, t.fallbacks, t.usage::text AS usage, t.deployment,
       coalesce(t.started_at, t.created_at) AS at, e.budget_id, e.period_start,
       e.prompt_tokens, e.completion_tokens, e.money
  FROM chat_task t JOIN chat_ledgerentry e ON e.task_id = t.id AND e.kind = 'reserve'
 WHERE t.id = ANY(%(task_ids)s) {condition} ORDER BY t.id FOR NO KEY UPDATE OF t
"""
_WAITING = _RESERVED.format(condition="AND t.status = 'requires_action'")
_GOING_ON = _RESERVED.format(condition="AND t.status = 'queued'")
#: A task that has ended, or is another worker's by now, reserves nothing more.
_RUNNING = _RESERVED.format(condition="AND t.status = 'running' AND t.attempt = %(attempt)s")
#: The last step of each task: what its answer used, and how much its results add to the prompt.
_LAST_STEPS = """
SELECT s.task_id, s.usage::text AS usage,
       (SELECT sum(octet_length(c.text) + %(overhead)s) FROM chat_toolcall c
         WHERE c.task_id = s.task_id AND c.step = s.number)::bigint AS result_bytes
  FROM chat_toolstep s
 WHERE s.task_id = ANY(%(task_ids)s)
   AND s.number = (SELECT max(number) FROM chat_toolstep l WHERE l.task_id = s.task_id)
"""
#: Of calls that were made, or may be yet.
_TOOL_COSTS = """
SELECT task_id, sum(price) AS money FROM chat_toolcall
 WHERE task_id = ANY(%(task_ids)s) AND price > 0
   AND (runs > 0 OR state IN ('requires_action', 'queued')) GROUP BY task_id
"""


_NOTHING = Amount(0, 0, Decimal(0))


class _Reserved(Row, frozen=True):
    """What a task reserved of a budget when it was accepted, and what it has used."""

    task_id: UUID
    model_id: int
    fallbacks: list[int]
    #: JSON.
    usage: str
    deployment: str
    at: datetime
    budget_id: int
    period_start: datetime
    prompt_tokens: int
    completion_tokens: int
    money: Decimal

    @property
    def key(self) -> PeriodKey:
        return self.budget_id, self.period_start

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def used(self) -> Tokens:
        return Tokens.of_usage(msgspec.json.decode(self.usage))


class _LastStep(Row, frozen=True):
    task_id: UUID
    #: JSON.
    usage: str
    result_bytes: int

    @property
    def used(self) -> Tokens:
        return Tokens.of_usage(msgspec.json.decode(self.usage))


class _ToolCost(Row, frozen=True):
    task_id: UUID
    money: Decimal


@dataclass(slots=True)
class _Reservations:
    """The reservations of some tasks, their periods locked. Of one transaction."""

    found: Sequence[_Reserved]
    periods: dict[PeriodKey, BudgetPeriod]
    models: Mapping[int, LLMModel]
    tool_costs: Mapping[UUID, Decimal]
    changes: Mapping[tuple[UUID, int], ReservationChange]
    at: datetime = field(default_factory=timezone.now)

    @classmethod
    def lock(
        cls, statement: str, task_ids: Sequence[UUID], attempt: int = 0
    ) -> _Reservations | None:
        """Load what these tasks have reserved. None: nothing."""
        params = {"task_ids": list(task_ids), "attempt": attempt}
        found = fetch_rows(_Reserved, statement, params)
        if not found:
            return None
        models = load_models(pk for entry in found for pk in (entry.model_id, *entry.fallbacks))
        ids = list({entry.task_id for entry in found})
        costs = fetch_rows(_ToolCost, _TOOL_COSTS, {"task_ids": ids})
        periods = lock_periods(entry.key for entry in found)
        rows = ReservationChange.objects.filter(task_id__in=ids)
        changes = {(row.task_id, row.budget_id): row for row in rows}
        return cls(found, periods, models, {row.task_id: row.money for row in costs}, changes)

    def cost_so_far(self, entry: _Reserved) -> Decimal:
        """Of the turns of the model, and of the tools."""
        price = PriceList.of(self.models[entry.model_id]).at(entry.at, entry.deployment)
        return charge(price, entry.used) + self.tool_costs.get(entry.task_id, Decimal(0))

    def currency(self, entry: _Reserved) -> str:
        return self.periods[entry.key].budget.currency

    def beside(self, entry: _Reserved) -> Amount:
        """What a task has reserved beside its entry."""
        old = self.changes.get((entry.task_id, entry.budget_id))
        return Amount(0, old.tokens, old.money) if old is not None else _NOTHING

    def refusal(
        self, entry: _Reserved, wanted: Amount, costs: Mapping[str, Decimal]
    ) -> BudgetExceeded | None:
        """Why a budget does not allow a task to have `wanted` reserved beside its entry. `costs`
        are what is to come, by currency."""
        before = self.beside(entry)
        more = Amount(0, wanted.tokens - before.tokens, wanted.money - before.money)
        return refusal(self.periods[entry.key], more, costs, self.at)

    def reserve(self, entry: _Reserved, wanted: Amount, *, is_waiting: bool = False) -> None:
        """Have a task reserve this beside its entry, in place of what it has besides now."""
        before = self.beside(entry)
        more = Amount(0, wanted.tokens - before.tokens, wanted.money - before.money)
        self.periods[entry.key].reserve(more)
        ReservationChange.objects.update_or_create(
            task_id=entry.task_id,
            budget_id=entry.budget_id,
            defaults={"tokens": wanted.tokens, "money": wanted.money, "is_waiting": is_waiting},
        )

    def store(self) -> None:
        store_counters(self.periods.values())


def free_while_waiting(task_ids: Sequence[UUID]) -> None:
    """Give back what these tasks have reserved and not used, if they wait for their users. Call it
    in a transaction."""
    reservations = _Reservations.lock(_WAITING, task_ids)
    if reservations is None:
        return
    for entry in reservations.found:
        if entry.key in reservations.periods:
            tokens = entry.used.total - entry.tokens
            money = reservations.cost_so_far(entry) - entry.money
            reservations.reserve(entry, Amount(0, tokens, money), is_waiting=True)
    reservations.store()


def reserve_turns(task_ids: Sequence[UUID]) -> dict[UUID, BudgetExceeded]:
    """Reserve another turn of the model, beside what was used, for these tasks, whose tools have
    answered. Returns those whose budgets do not allow it. Call it in a transaction that holds the
    locks of the tasks."""
    reservations = _Reservations.lock(_GOING_ON, task_ids)
    if reservations is None:
        return {}
    ids = list({entry.task_id for entry in reservations.found})
    params = {"task_ids": ids, "overhead": RESULT_OVERHEAD_BYTES}
    steps = {step.task_id: step for step in fetch_rows(_LastStep, _LAST_STEPS, params)}
    refused: dict[UUID, BudgetExceeded] = {}
    for entry in reservations.found:
        period = reservations.periods.get(entry.key)
        if period is None or entry.task_id in refused:
            continue
        turn = _next_turn(entry, steps.get(entry.task_id))
        costs = _turn_costs(reservations, entry, turn)
        tokens = entry.used.total + turn.total - entry.tokens
        of_turn = costs.get(period.budget.currency, Decimal(0))
        money = reservations.cost_so_far(entry) + of_turn - entry.money
        wanted = Amount(0, tokens, money)
        if (problem := reservations.refusal(entry, wanted, costs)) is not None:
            refused[entry.task_id] = problem
            continue
        reservations.reserve(entry, wanted)
    reservations.store()
    return refused


def _next_turn(entry: _Reserved, step: _LastStep | None) -> Tokens:
    """What the next turn may use: the prompt of the last one with its answer and the results.

    The last one's prompt as the provider counted it has the tools as well; where it counted
    nothing, it is that of the first turn.
    """
    prompt = entry.prompt_tokens
    if step is not None:
        prompt = max(prompt, step.used.total) + estimate(step.result_bytes)
    return Tokens(min(prompt, MAX_COUNT), 0, entry.completion_tokens)


def _turn_costs(reservations: _Reservations, entry: _Reserved, turn: Tokens) -> dict[str, Decimal]:
    models = [
        reservations.models[pk]
        for pk in (entry.model_id, *entry.fallbacks)
        if pk in reservations.models
    ]
    return highest_costs(models, turn, reservations.at)


class StepCosts(msgspec.Struct, frozen=True):
    """What a step that is about to be stored adds to what its task reserves."""

    #: Of its tools, by currency.
    prices: Mapping[str, Decimal]
    #: What the turn has used that asks for it. Its row does not have it yet.
    used: Tokens
    #: Of the results that are known already; None: tools are to be called before the next turn.
    result_bytes: int | None = None


def reserve_step(task_id: UUID, attempt: int, step: StepCosts) -> BudgetExceeded | None:
    """Reserve the price of a step's tools and, where none is to be called first, another turn.

    Returns why a budget does not allow it; None: it is reserved, or there is no budget.
    """
    with transaction.atomic():
        reservations = _Reservations.lock(_RUNNING, [task_id], attempt)
        if reservations is None:
            return None
        for entry in reservations.found:
            if entry.key not in reservations.periods:
                continue
            wanted = _with_step(reservations, entry, step)
            if (problem := reservations.refusal(entry, wanted, step.prices)) is not None:
                transaction.set_rollback(True)
                return problem
            reservations.reserve(entry, wanted)
        reservations.store()
    return None


def _with_step(reservations: _Reservations, entry: _Reserved, step: StepCosts) -> Amount:
    """What a task reserves beside its entry, with a step."""
    before = reservations.beside(entry)
    money = before.money + step.prices.get(reservations.currency(entry), Decimal(0))
    if step.result_bytes is None:
        return Amount(0, before.tokens, money)
    tokens = step.used.total + estimate(step.result_bytes)
    price = PriceList.of(reservations.models[entry.model_id]).at(entry.at, entry.deployment)
    return Amount(0, before.tokens + tokens, money + charge(price, step.used))


def take_changes(task_ids: Sequence[UUID]) -> dict[tuple[UUID, int], Amount]:
    """What these tasks have reserved beyond their entries, by task and budget, as they end."""
    if not task_ids:
        return {}
    rows = ReservationChange.objects.filter(task_id__in=task_ids)
    found = {(row.task_id, row.budget_id): Amount(0, row.tokens, row.money) for row in rows}
    if found:
        rows.delete()
    return found
