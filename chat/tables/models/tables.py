"""Tables: what one is called, whose it is, and how many changes and rows it has."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxLengthValidator
from django.db import models

#: Characters of the name of a table, field or view.
MAX_NAME_CHARS = 200


class TableQuerySet(models.QuerySet["Table"]):
    def live(self) -> TableQuerySet:
        """Tables that are not in the trash."""
        return self.filter(deleted_at=None)


class Table(models.Model):
    """A table of a user. Its rows are in the PostgreSQL table `tables.t<id>`.

    `rev` counts the changes of rows and fields. It is raised by the last statement of each
    transaction that changes something, so revisions become visible in their order.
    """

    id: int
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="tables"
    )
    name = models.CharField(max_length=MAX_NAME_CHARS)
    description = models.TextField(blank=True, validators=[MaxLengthValidator(10_000)])
    max_rows = models.PositiveIntegerField(
        null=True, blank=True, help_text="Most rows; none: TABLE_MAX_ROWS."
    )
    rev = models.BigIntegerField(default=0, editable=False)
    schema_rev = models.PositiveIntegerField(
        default=1, editable=False, help_text="Raised by each change of the fields."
    )
    row_count = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, help_text="Of the table, not of its rows.")
    deleted_at = models.DateTimeField(
        null=True, editable=False, help_text="It is in the trash since."
    )

    objects: ClassVar = TableQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        permissions = [
            ("run_table", "Can run AI fields of table"),
            ("review_table", "Can review answers in table"),
        ]
        indexes = [
            models.Index(fields=["owner", "-id"], name="table_owner_recent"),
            models.Index(
                fields=["deleted_at"],
                condition=models.Q(deleted_at__isnull=False),
                name="table_trash",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def row_limit(self) -> int:
        limit: int = settings.TABLE_MAX_ROWS if self.max_rows is None else self.max_rows
        return limit
