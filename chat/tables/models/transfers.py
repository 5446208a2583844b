"""Imports and exports: files on their way into and out of a table."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.files import StoredFile
from chat.models.ids import tagged_id
from chat.tables.models.tables import Table
from chat.tables.models.views import View


class TransferState(models.TextChoices):
    """uploading → ready → running → done | failed | cancelled. An export begins as running."""

    UPLOADING = "uploading"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: While a transfer is in one of these, the columns of its table stay as they are.
ACTIVE_TRANSFERS = (TransferState.RUNNING,)


class ImportMode(models.TextChoices):
    """What becomes of a row whose key is in the table already."""

    APPEND = "append", "append all"
    UPSERT = "upsert", "update by key"
    SKIP = "skip", "skip known keys"


class Transfer(models.Model):
    """What imports and exports have in common. A worker holds `lease_until` while it works."""

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    table = models.ForeignKey(Table, on_delete=models.CASCADE, db_index=False, related_name="+")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    file = models.ForeignKey(
        StoredFile, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    format = models.CharField(max_length=8, help_text="csv, jsonl or xlsx.")
    options = models.JSONField(default=dict, help_text="How the file is read or written.")
    state = models.CharField(
        max_length=9, choices=TransferState.choices, default=TransferState.UPLOADING
    )
    message = models.CharField(max_length=500, blank=True)
    total = models.PositiveIntegerField(null=True, help_text="Rows, once they are counted.")
    done = models.PositiveIntegerField(default=0, help_text="Rows so far.")
    lease = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.table_id}: {self.state}"


class Import(Transfer):
    """A file whose rows become rows of a table."""

    mode = models.CharField(max_length=6, choices=ImportMode.choices, default=ImportMode.APPEND)
    key_field = models.ForeignKey(
        "tables.Field", null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    columns = models.JSONField(default=list, help_text="Of the file: header and guessed kind.")
    mapping = models.JSONField(default=list, help_text="Of each column: the field it goes to.")
    is_all_or_nothing = models.BooleanField(default=False)
    created_rows = models.PositiveIntegerField(default=0)
    updated_rows = models.PositiveIntegerField(default=0)
    skipped_rows = models.PositiveIntegerField(default=0)
    bad_rows = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=list, help_text="Line, field, value and reason of bad rows.")

    objects: ClassVar[models.Manager[Import]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["table", "-id"], name="import_recent"),
            models.Index(fields=["id"], condition=Q(state="running"), name="import_running"),
        ]


class Export(Transfer):
    """The rows of a table, or of a view of it, as a file."""

    view = models.ForeignKey(
        View, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )

    objects: ClassVar[models.Manager[Export]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["table", "-id"], name="export_recent"),
            models.Index(fields=["id"], condition=Q(state="running"), name="export_running"),
        ]
