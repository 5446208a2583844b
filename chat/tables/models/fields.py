"""Fields: the typed columns of a table."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.tables.models.tables import MAX_NAME_CHARS, Table


class Kind(models.TextChoices):
    """What the cells of a field hold."""

    TEXT = "text"
    LONG_TEXT = "long_text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime", "date and time"
    SELECT = "select", "single select"
    MULTI_SELECT = "multi_select", "multiple select"
    URL = "url", "URL"
    EMAIL = "email", "e-mail"
    JSON = "json", "JSON"
    LINK = "link", "link to a table"


class Field(models.Model):
    """A field of a table. In JSON its values have the name `key`, in PostgreSQL `column`.

    The column is `f<id>` at first and another one after a change of the kind. A link has none: its
    pairs of rows are in `tables.l<id>`. A field that an AI field fills has its values in the AI
    field's own table `tables.a<id>`, there in `column`.
    """

    id: int
    table = models.ForeignKey(
        Table, on_delete=models.CASCADE, db_index=False, related_name="fields"
    )
    name = models.CharField(max_length=MAX_NAME_CHARS)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    options = models.JSONField(
        default=dict, blank=True, help_text="Choices of a select, or the table that is linked to."
    )
    column = models.CharField(max_length=40, blank=True, editable=False)
    position = models.PositiveIntegerField(default=0)
    ai_field = models.ForeignKey(
        "tables.AiField",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="outputs",
        help_text="What fills it; none: people and programs do.",
    )
    retype = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="The change of kind that is under way, or the report of the last one.",
    )
    is_retyping = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(
        null=True, editable=False, help_text="It is in the trash since."
    )
    deleted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )

    objects: ClassVar[models.Manager[Field]] = models.Manager()

    class Meta:
        ordering = ("position", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["table", "name"], condition=Q(deleted_at=None), name="one_field_a_name"
            ),
        ]
        indexes = [
            models.Index(fields=["table", "position", "id"], name="field_place"),
            models.Index(
                fields=["ai_field"], condition=Q(ai_field__isnull=False), name="field_filled_by"
            ),
            models.Index(
                fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="field_trash"
            ),
            models.Index(fields=["id"], condition=Q(is_retyping=True), name="field_retyping"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Its name in the JSON of rows."""
        return f"f{self.pk}"

    @property
    def is_stored(self) -> bool:
        """Whether its values are a column of the table's own rows."""
        return self.kind != Kind.LINK and self.ai_field_id is None
