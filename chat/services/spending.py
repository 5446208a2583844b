"""What was spent on each day of this month, for the console of staff.

The ledger may have millions of entries a day. So a day is summed once and kept in the cache, and a
call sums few days: the month is complete after some calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.core.cache import cache
from django.db.models import Count, Sum
from django.utils import timezone

from chat.accounting.reports import in_days
from chat.models import LedgerEntry

#: Days that are summed in one call, at most.
MAX_SUMMED = 3
#: How long the sums of a day that may still grow are kept, and those of earlier days.
_TODAY_SECONDS = 30
_PAST_SECONDS = 40 * 86_400


@dataclass(frozen=True, slots=True)
class DaySpending:
    """`money` is by currency, as decimal texts."""

    day: str
    tasks: int
    money: dict[str, str]


@dataclass(frozen=True, slots=True)
class Spending:
    """Days of this month (UTC), oldest first; without some of them while not `is_complete`."""

    days: Sequence[DaySpending]
    is_complete: bool


def spending() -> Spending:
    """Return this month's days as far as they are summed by now."""
    today = timezone.now().date()
    days = [today - timedelta(days=back) for back in range(today.day)]
    kept = cache.get_many([_key(day) for day in days])
    found: list[DaySpending] = []
    summed = 0
    for day in days:
        known = kept.get(_key(day))
        if known is None and summed < MAX_SUMMED:
            summed += 1
            known = _sum(day)
            # Tasks that ended yesterday may be settled today.
            is_past = today - day > timedelta(days=1)
            cache.set(_key(day), known, _PAST_SECONDS if is_past else _TODAY_SECONDS)
        if known is not None:
            tasks, money = known
            found.append(DaySpending(day.isoformat(), tasks, money))
    return Spending(found[::-1], len(found) == len(days))


def _key(day: date) -> str:
    return f"console:spending:{day.isoformat()}"


def _sum(day: date) -> tuple[int, dict[str, str]]:
    usage = in_days(LedgerEntry.objects.usage(), day, day).order_by()
    rows = usage.values("currency").annotate(tasks=Count("pk"), total=Sum("money"))
    sums = list(rows.order_by("currency"))
    money = {row["currency"]: f"{row['total']:f}" for row in sums if row["total"]}
    return sum(row["tasks"] for row in sums), money
