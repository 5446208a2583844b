"""Views: a stored filter, order and layout of a table."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from chat.tables.models.tables import MAX_NAME_CHARS, Table


class View(models.Model):
    """How the rows of a table are shown. Fields are named by their ids."""

    id: int
    table = models.ForeignKey(Table, on_delete=models.CASCADE, db_index=False, related_name="views")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    name = models.CharField(max_length=MAX_NAME_CHARS)
    kind = models.CharField(max_length=12, choices=[("grid", "grid")], default="grid")
    filter = models.JSONField(null=True, blank=True, help_text="A tree of conditions.")
    sorts = models.JSONField(default=list, blank=True)
    groups = models.JSONField(default=list, blank=True)
    aggregates = models.JSONField(default=dict, blank=True)
    hidden = models.JSONField(default=list, blank=True)
    order = models.JSONField(default=list, blank=True, help_text="Fields in their order here.")
    frozen = models.PositiveSmallIntegerField(default=0, help_text="First fields that stay.")
    widths = models.JSONField(default=dict, blank=True, help_text="Pixels by field.")
    collation = models.CharField(max_length=40, blank=True)
    is_shared = models.BooleanField(
        default=False, help_text="Everybody sees it who may read the table."
    )
    position = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager[View]] = models.Manager()

    class Meta:
        ordering = ("position", "id")
        indexes = [models.Index(fields=["table", "position", "id"], name="view_place")]

    def __str__(self) -> str:
        return self.name
