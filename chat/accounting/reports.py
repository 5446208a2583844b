"""Reports: usage from the ledger, and the state of budgets from their counters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db.models import CharField, Count, F, Prefetch, Q, QuerySet, Sum
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncDate
from django.utils import timezone

from accounts.models import User
from chat.models import Budget, BudgetPeriod, LedgerEntry
from chat.models.budgets import DIMENSIONS, Period

#: What usage can be grouped by. A model, scene or user that was deleted has no name any more.
GROUPS: dict[str, Combinable] = {
    "day": Cast(TruncDate("at", tzinfo=UTC), CharField()),
    "model": F("model__name"),
    "scene": F("scene__slug"),
    "user": F("owner__username"),
    "api_key": Cast("api_key", CharField()),
}
#: Groups of one report. Days, models and scenes are few; values of metadata may be any number.
MAX_GROUPS = 1_000


class TooManyGroupsError(Exception):
    """There are more than MAX_GROUPS."""


def label(name: str) -> Combinable:
    """What usage is grouped by for one name in the tasks' metadata."""
    return KeyTextTransform(name, "metadata")


def in_days(entries: QuerySet[LedgerEntry], first: date, last: date) -> QuerySet[LedgerEntry]:
    """Entries of tasks that ended on these days (UTC), both included."""
    start = datetime.combine(first, time.min, UTC)
    return entries.filter(at__gte=start, at__lt=start + (last - first + timedelta(days=1)))


def usage_by(entries: QuerySet[LedgerEntry], group: Combinable) -> list[dict[str, object]]:
    """Sums of usage entries by one of GROUPS or a label, and by currency.

    Raises TooManyGroupsError.

    Rows have key, currency, tasks, estimated (tasks without a count of the provider's),
    prompt_tokens, cached_tokens, completion_tokens and money.
    """
    rows = (
        entries.order_by()
        .values("currency", key=group)
        .annotate(
            tasks=Count("pk"),
            estimated=Count("pk", filter=Q(is_estimated=True)),
            prompt_tokens=Sum("prompt_tokens"),
            cached_tokens=Sum("cached_tokens"),
            completion_tokens=Sum("completion_tokens"),
            money=Sum("money"),
        )
        .order_by("key", "currency")
    )
    groups = [dict(row) for row in rows[: MAX_GROUPS + 1]]
    if len(groups) > MAX_GROUPS:
        raise TooManyGroupsError
    return groups


#: An attribute of Budget, named apart as the type checker would declare it here once more.
_CURRENT = "current_periods"


# --- Budgets ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Part:
    """One limit. `left` is None if there is no limit."""

    limit: Decimal | None
    reserved: Decimal
    spent: Decimal
    left: Decimal | None


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget in its period around now; `ends_at` is None for one without an end."""

    budget: Budget
    starts_at: datetime
    ends_at: datetime | None
    calls: Part
    tokens: Part
    money: Part


def budgets_of(user: User) -> QuerySet[Budget]:
    """The active budgets of a user and of their API keys."""
    own = Budget.objects.filter(Q(user=user) | Q(api_key__owner=user), is_active=True)
    return own.select_related("api_key")


def with_current_periods(budgets: QuerySet[Budget]) -> QuerySet[Budget]:
    """Prefetch the periods that `state` needs, in one query for all budgets."""
    now = timezone.now()
    current = BudgetPeriod.objects.filter(starts_at__in={kind.start(now) for kind in Period})
    return budgets.prefetch_related(Prefetch("periods", current, to_attr=_CURRENT))


def state(budget: Budget) -> BudgetState:
    """The state of a budget that `with_current_periods` has loaded."""
    kind, now = Period(budget.period), timezone.now()
    start = kind.start(now)
    unused = BudgetPeriod(budget=budget, starts_at=start)
    period = next((row for row in budget.current_periods if row.starts_at == start), unused)
    parts = {name: _part(budget, period, name) for name in DIMENSIONS}
    return BudgetState(budget, start, kind.end(now), **parts)


def _part(budget: Budget, period: BudgetPeriod, name: str) -> Part:
    limit = getattr(budget, f"limit_{name}")
    reserved = Decimal(getattr(period, f"reserved_{name}"))
    spent = Decimal(getattr(period, f"spent_{name}"))
    if limit is None:
        return Part(None, reserved, spent, None)
    return Part(Decimal(limit), reserved, spent, max(Decimal(limit) - reserved - spent, Decimal(0)))
