"""Refusals: why a budget does not allow a task, and when to submit it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from aily.rest.decimals import decimal_text
from chat.exceptions import BudgetExceeded
from chat.models import BudgetPeriod
from chat.models.budgets import DIMENSIONS, Amount, Period

#: Retry-After if the reservations of running tasks are in the way: they come back as these end.
RUNNING_RETRY_SECONDS = 5


def refusal(
    period: BudgetPeriod, amount: Amount, costs: Mapping[str, Decimal], at: datetime
) -> BudgetExceeded | None:
    """Why the budget refuses a task that may use `amount`, and cost `costs` by currency; None: it
    fits."""
    budget = period.budget
    foreign = [code for code, money in costs.items() if money and code != budget.currency]
    if budget.limit_money is not None and foreign:
        message = (
            f"Budget {budget.name!r} counts {budget.currency}, and this task is charged in "
            f"{foreign[0]}."
        )
        return BudgetExceeded(message, budget=_facts(period, "money", at))
    for name in DIMENSIONS:
        limit = getattr(budget, f"limit_{name}")
        taken = getattr(period, f"reserved_{name}") + getattr(period, f"spent_{name}")
        if limit is not None and taken + getattr(amount, name) > limit:
            return _used_up(period, name, getattr(amount, name), at)
    return None


def _used_up(
    period: BudgetPeriod, name: str, wanted: int | Decimal, at: datetime
) -> BudgetExceeded:
    facts = _facts(period, name, at)
    unit = period.budget.currency if name == "money" else name
    message = (
        f"Budget {facts['name']!r} has {facts['left']} of {facts['limit']} {unit} left, and this "
        f"task may need {plain(wanted)}; {facts['reserved']} are reserved by tasks that have not "
        f"ended. "
    )
    end = facts["ends_at"]
    message += f"Its period ends at {end}." if end else "It has no further period."
    retry_after_seconds = _retry_after_seconds(period, name, wanted, at)
    return BudgetExceeded(message, budget=facts, retry_after_seconds=retry_after_seconds)


def _facts(period: BudgetPeriod, name: str, at: datetime) -> dict[str, str | None]:
    budget, end = period.budget, Period(period.budget.period).end(at)
    limit = getattr(budget, f"limit_{name}")
    reserved, spent = getattr(period, f"reserved_{name}"), getattr(period, f"spent_{name}")
    return {
        "name": budget.name,
        "unit": budget.currency if name == "money" else name,
        "limit": plain(limit),
        "left": plain(max(limit - reserved - spent, 0)),
        "reserved": plain(reserved),
        "period": budget.period,
        "ends_at": f"{end:%Y-%m-%dT%H:%M:%SZ}" if end else None,
    }


def plain(number: Decimal | int) -> str:
    """Format a number without trailing zeros and without an exponent."""
    return decimal_text(number) if isinstance(number, Decimal) else str(number)


def _retry_after_seconds(
    period: BudgetPeriod, name: str, wanted: int | Decimal, at: datetime
) -> int | None:
    """Seconds until the period ends, or a few if only running tasks are in the way. None: never."""
    limit = getattr(period.budget, f"limit_{name}")
    if getattr(period, f"spent_{name}") + wanted <= limit:
        return RUNNING_RETRY_SECONDS
    end = Period(period.budget.period).end(at)
    return math.ceil((end - at).total_seconds()) if end and wanted <= limit else None
