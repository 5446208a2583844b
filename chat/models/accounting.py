"""Prices, budgets, and the ledger of what tasks used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.expressions import Combinable

from accounts.models import APIKey
from chat.models.providers import LLMModel

if TYPE_CHECKING:
    _DecimalField = models.DecimalField[Decimal | int | str | Combinable, Decimal]


def _money() -> _DecimalField:
    """An exact amount: a price has six decimals and is per million tokens."""
    return models.DecimalField(max_digits=24, decimal_places=12, default=0)


def _price(help_text: str) -> _DecimalField:
    return models.DecimalField(max_digits=12, decimal_places=6, help_text=help_text)


# --- Prices -------------------------------------------------------------------------------------
class ModelPrice(models.Model):
    """A model's prices for some time. Outside of it the model's own three prices hold.

    If several hold, a price with hours or weekdays goes before one without, then the one valid
    from the later day, then the newer one.
    """

    model = models.ForeignKey(LLMModel, on_delete=models.CASCADE, related_name="prices")
    input_price = _price("Per million prompt tokens.")
    cached_input_price = _price("Per million cached prompt tokens.")
    output_price = _price("Per million completion tokens.")
    currency = models.CharField(max_length=3, default="USD")
    valid_from = models.DateField(null=True, blank=True, help_text="First day, UTC.")
    valid_until = models.DateField(null=True, blank=True, help_text="Last day, UTC.")
    weekdays = ArrayField(
        models.PositiveSmallIntegerField(validators=[MaxValueValidator(6)]),
        default=list,
        blank=True,
        help_text="0 is Monday, 6 is Sunday. Empty: every day. Example: 0,1,2,3,4",
    )
    starts_at = models.TimeField(null=True, blank=True, help_text="UTC. Empty: midnight.")
    ends_at = models.TimeField(
        null=True,
        blank=True,
        help_text="UTC, not included. Empty: midnight. Before the start: on the next day.",
    )

    class Meta:
        verbose_name = "price"
        ordering = ("model", "id")

    def __str__(self) -> str:
        return f"{self.model_id}: {self.input_price}/{self.output_price} {self.currency}"

    def clean(self) -> None:
        if self.starts_at is not None and self.starts_at == self.ends_at:
            raise ValidationError({"ends_at": "This window is empty."})

    @property
    def has_window(self) -> bool:
        return bool(self.weekdays) or self.starts_at is not None or self.ends_at is not None

    def is_valid_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day <= self.valid_until
        )

    def holds_at(self, at: datetime) -> bool:
        """True when the price is in force at this moment."""
        at = at.astimezone(UTC)
        start, end, now = self.starts_at or time.min, self.ends_at, at.time()
        if end is None or start < end:
            return now >= start and (end is None or now < end) and self._is_on(at.date())
        # Over midnight: what comes before the end belongs to the window of the day before.
        if now < end:
            return self._is_on(at.date() - timedelta(days=1))
        return now >= start and self._is_on(at.date())

    def _is_on(self, day: date) -> bool:
        return self.is_valid_on(day) and (not self.weekdays or day.weekday() in self.weekdays)


# --- Budgets ------------------------------------------------------------------------------------
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

    name = models.CharField(max_length=100, help_text="Callers are told it when it is used up.")
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
    reserved_money = _money()
    spent_calls = models.BigIntegerField(default=0)
    spent_tokens = models.BigIntegerField(default=0)
    spent_money = _money()

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


# --- Ledger -------------------------------------------------------------------------------------
class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    def usage(self) -> LedgerQuerySet:
        """One entry an ended task, whether it had budgets or not."""
        return self.filter(budget__isnull=True)


class LedgerEntry(models.Model):
    """One line of the ledger; a trigger of the database refuses to change or delete any.

    Every ended task has one without a budget: its usage. Beyond that it has, for each of its
    budgets, what was reserved, and one closing entry. So of each budget and period:
    spent = sum of settle; reserved = sum of reserve whose task has no closing entry yet.
    """

    class Kind(models.TextChoices):
        """A task closes with `settle` when its provider was called, else with `release`."""

        RESERVE = "reserve"
        SETTLE = "settle"
        RELEASE = "release"

    # What an entry names may be deleted; the entry stays. Hence no foreign keys in the database.
    task_id = models.UUIDField()
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    api_key = models.ForeignKey(
        APIKey,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    model = models.ForeignKey(
        LLMModel,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    scene = models.ForeignKey(
        "chat.Scene",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    budget = models.ForeignKey(
        Budget,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    period_start = models.DateTimeField(null=True, help_text="Of the budget's period.")
    kind = models.CharField(max_length=7, choices=Kind.choices)
    prompt_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0, help_text="Of the prompt tokens.")
    completion_tokens = models.BigIntegerField(default=0)
    money = _money()
    currency = models.CharField(max_length=3)
    is_estimated = models.BooleanField(
        default=False, help_text="Reckoned from text lengths, as the provider gave no usage."
    )
    at = models.DateTimeField()

    objects: ClassVar = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["task_id", "budget"],
                condition=Q(kind="reserve"),
                nulls_distinct=False,
                name="one_reservation",
            ),
            models.UniqueConstraint(
                fields=["task_id", "budget"],
                condition=~Q(kind="reserve"),
                nulls_distinct=False,
                name="one_closing_entry",
            ),
        ]
        indexes = [
            models.Index(
                fields=["owner", "at"],
                condition=Q(budget__isnull=True),
                name="ledger_usage_owner",
            ),
            models.Index(fields=["at"], name="ledger_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.task_id}"

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
