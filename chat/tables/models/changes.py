"""The log of changes of a table: who changed what, and what undoes it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from chat.tables.models.tables import Table


class ChangeKind(models.TextChoices):
    """What was changed."""

    ROWS = "rows"
    FIELD = "field"
    IMPORT = "import"
    RUN = "run"
    REVERT = "revert"


class Step(models.TextChoices):
    """Whether a change was made, or takes back another one."""

    EDIT = "edit"
    UNDO = "undo"
    REDO = "redo"


class Change(models.Model):
    """One transaction on a table, by the revision that it made.

    `inverse` undoes it: `{"create": [rows], "update": [{"id", "values", "was"}], "delete": [ids]}`,
    values as in the JSON of rows; of fields `{"restore_field": id}`, `{"delete_field": id}` or
    `{"change_field": {"id", "name", "options", "position"}}`. Null: too large, or undone as a whole
    by `batch`.
    """

    table = models.ForeignKey(
        Table, on_delete=models.CASCADE, db_index=False, related_name="changes"
    )
    rev = models.BigIntegerField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )
    client = models.CharField(max_length=64, blank=True, help_text="The tab that sent it.")
    kind = models.CharField(max_length=6, choices=ChangeKind.choices)
    batch = models.UUIDField(null=True, help_text="The import or run that it is part of.")
    rows = models.PositiveIntegerField(default=0, help_text="Rows that it changed.")
    inverse = models.JSONField(null=True)
    step = models.CharField(max_length=4, choices=Step.choices, default=Step.EDIT)
    undone_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Change]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["table", "-rev"], name="change_recent"),
            models.Index(fields=["table", "user", "client", "-id"], name="change_by_tab"),
            models.Index(
                fields=["batch"], condition=models.Q(batch__isnull=False), name="change_of_batch"
            ),
            models.Index(fields=["created_at"], name="change_age"),
        ]

    def __str__(self) -> str:
        return f"{self.table_id}@{self.rev}"
