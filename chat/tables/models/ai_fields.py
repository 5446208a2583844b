"""AI fields: which scene fills which fields of a table, from what, and when."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from chat.tables.models.tables import MAX_NAME_CHARS, Table


class Policy(models.TextChoices):
    """When the cells of an AI field are filled."""

    BY_HAND = "by_hand", "by hand"
    EMPTY = "empty", "empty cells only"
    FRESH = "fresh", "keep fresh"


class AiField(models.Model):
    """A scene that fills one or several fields, its outputs, of each row.

    Results are in the PostgreSQL table `tables.a<id>`. The outputs are fields of the same table
    whose `ai_field` is this row, with columns `o1`, `o2` and so on.
    """

    id: int
    table = models.ForeignKey(
        Table, on_delete=models.CASCADE, db_index=False, related_name="ai_fields"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="Who pays where nobody starts a run.",
    )
    name = models.CharField(max_length=MAX_NAME_CHARS)
    scene = models.CharField(max_length=50, help_text="By slug.")
    scene_version = models.PositiveIntegerField(
        null=True, blank=True, help_text="None: the one that is live at the start of a run."
    )
    mapping = models.JSONField(
        default=dict, help_text="Of each variable of the scene: its field, or a constant."
    )
    outputs_map = models.JSONField(
        default=dict, blank=True, help_text="Of each output: the property of the answer."
    )
    condition = models.JSONField(
        null=True, blank=True, help_text="A tree of conditions that rows must meet."
    )
    model = models.CharField(max_length=100, blank=True, help_text="Empty: the scene's.")
    options = models.JSONField(default=dict, blank=True, help_text="Fields of every request.")
    policy = models.CharField(max_length=8, choices=Policy.choices, default=Policy.BY_HAND)
    max_rows_per_hour = models.PositiveIntegerField(null=True, blank=True)
    max_cost_per_day = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    config_rev = models.PositiveIntegerField(
        default=1, editable=False, help_text="Raised by each change of what is asked."
    )
    policy_note = models.CharField(
        max_length=200, blank=True, editable=False, help_text="Why its policy fills no more cells."
    )
    policy_reason = models.JSONField(
        null=True, editable=False, help_text="Code and params of its note, for other languages."
    )
    checked_rev = models.BigIntegerField(
        null=True, editable=False, help_text="The table's revision that its policy has looked at."
    )
    checked_config = models.BinaryField(max_length=16, null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[models.Manager[AiField]] = models.Manager()

    class Meta:
        ordering = ("id",)
        verbose_name = "AI field"
        indexes = [models.Index(fields=["table", "id"], name="ai_field_of_table")]

    def __str__(self) -> str:
        return self.name
