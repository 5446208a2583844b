"""The ledger of what tasks reserved and used."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import APIKey
from chat.models.budgets import Budget
from chat.models.llm_models import LLMModel
from chat.models.money import money_field


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
    money = money_field()
    currency = models.CharField(max_length=3)
    is_estimated = models.BooleanField(
        default=False, help_text="Reckoned from text lengths, as the provider gave no usage."
    )
    at = models.DateTimeField()
    metadata = models.JSONField(
        default=dict,
        db_default={},
        help_text="Of the task's, the short values. Only in entries of usage.",
    )

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


class ReservationChange(models.Model):
    """How much more than its entry in the ledger, or less, a task that calls tools has reserved of
    a budget. Less while it waits for its user: others may use the rest meanwhile."""

    task_id = models.UUIDField()
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="+")
    tokens = models.BigIntegerField()
    money = money_field()
    is_waiting = models.BooleanField(help_text="Its task waits for its user.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["task_id", "budget"], name="one_change_of_a_reservation"
            )
        ]

    def __str__(self) -> str:
        return str(self.task_id)
