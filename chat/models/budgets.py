"""Budgets, and the counters of their periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import APIKey
from chat.models.money import money_field


class Period(models.TextChoices):
    """In UTC; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"

    def start(self, at: datetime) -> datetime:
        """When the period around `at` began. A total one has no beginning: 1970."""
        midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case Period.DAY:
                return midnight
            case Period.WEEK:
                return midnight - timedelta(days=midnight.weekday())
            case Period.MONTH:
                return midnight.replace(day=1)
            case Period.TOTAL:
                return datetime(1970, 1, 1, tzinfo=UTC)

    def end(self, at: datetime) -> datetime | None:
        """When the next period begins; None: never."""
        start = self.start(at)
        match self:
            case Period.DAY:
                return start + timedelta(days=1)
            case Period.WEEK:
                return start + timedelta(days=7)
            case Period.MONTH:
                return (start + timedelta(days=31)).replace(day=1)
            case Period.TOTAL:
                return None


class Budget(models.Model):
    """How much a user or an API key may spend in a period. All limits that are set hold.

    It counts the tasks that are accepted while it is active.
    """

    name = models.CharField(max_length=100, help_text="Callers get this name when it is used up.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
    )
    api_key = models.ForeignKey(
        APIKey,
        verbose_name="API key",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
    )
    period = models.CharField(max_length=5, choices=Period.choices, default=Period.MONTH)
    limit_calls = models.PositiveBigIntegerField(null=True, blank=True)
    limit_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    limit_money = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    currency = models.CharField(max_length=3, default="USD", help_text="Of the money limit.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    #: No column: set where the row is loaded with them (chat/accounting/reports.py).
    current_periods: list[BudgetPeriod]

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True) ^ Q(api_key__isnull=True),
                name="budget_user_or_api_key",
                violation_error_message="Choose a user or an API key, and not both.",
            ),
            models.CheckConstraint(
                condition=Q(limit_calls__isnull=False)
                | Q(limit_tokens__isnull=False)
                | Q(limit_money__isnull=False),
                name="budget_has_a_limit",
                violation_error_message="Set at least one limit.",
            ),
            models.CheckConstraint(
                condition=Q(limit_money__isnull=True) | Q(limit_money__gte=0),
                name="budget_money_not_negative",
                violation_error_message="A limit must not be negative.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


#: What a budget counts; each has a limit, a reserved and a spent column.
DIMENSIONS = ("calls", "tokens", "money")
COUNTERS = tuple(f"{kind}_{name}" for kind in ("reserved", "spent") for name in DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Amount:
    """`money` in the currency of the budget that it is for."""

    calls: int
    tokens: int
    money: Decimal


class BudgetPeriod(models.Model):
    """One period of a budget: the sums of its ledger entries, kept up to date with each entry.

    Reserved is what tasks that have not ended may use, spent what ended tasks used. Both change
    only under the row's lock; rows are locked in the order of their ids.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="periods")
    starts_at = models.DateTimeField()
    reserved_calls = models.BigIntegerField(default=0)
    reserved_tokens = models.BigIntegerField(default=0)
    reserved_money = money_field()
    spent_calls = models.BigIntegerField(default=0)
    spent_tokens = models.BigIntegerField(default=0)
    spent_money = money_field()

    class Meta:
        ordering = ("-starts_at",)
        constraints = [
            models.UniqueConstraint(fields=["budget", "starts_at"], name="unique_budget_period")
        ]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d}"

    def reserve(self, amount: Amount) -> None:
        for name in DIMENSIONS:
            self._add(f"reserved_{name}", getattr(amount, name))

    def move_to_spent(self, reserved: Amount, spent: Amount) -> None:
        """Give back a reservation, and count what was spent in its place."""
        for name in DIMENSIONS:
            self._add(f"reserved_{name}", -getattr(reserved, name))
            self._add(f"spent_{name}", getattr(spent, name))

    def _add(self, counter: str, amount: int | Decimal) -> None:
        setattr(self, counter, getattr(self, counter) + amount)
