"""Indexes that are made for what views of a large table sort and filter by."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from chat.tables.models.fields import Field
from chat.tables.models.tables import Table


class FieldIndex(models.Model):
    """An index `tables.x<id>` on the column of a field."""

    id: int
    table = models.ForeignKey(
        Table, on_delete=models.CASCADE, db_index=False, related_name="indexes"
    )
    field = models.ForeignKey(Field, on_delete=models.CASCADE, related_name="+")
    order = models.CharField(
        max_length=5, choices=[("asc", "ascending"), ("desc", "descending"), ("equal", "equal")]
    )
    column = models.CharField(max_length=40)
    is_built = models.BooleanField(default=False)
    used_at = models.DateTimeField(auto_now_add=True, help_text="The last day of use.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[FieldIndex]] = models.Manager()

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "field indexes"
        constraints = [
            models.UniqueConstraint(
                fields=["table", "field", "order"], name="one_index_a_field_and_order"
            ),
        ]

    def __str__(self) -> str:
        return f"x{self.pk} {self.order}"
