"""Imports and exports: files on their way into and out of a table."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.files import StoredFile
from chat.models.ids import tagged_id
from chat.tables.models.tables import MAX_NAME_CHARS, Table
from chat.tables.models.views import View


class TransferState(models.TextChoices):
    """inspecting → ready → running → done | failed | cancelled. An export begins as running.

    A file is inspected once more after each change of its dialect.
    """

    INSPECTING = "inspecting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: While a transfer is in one of these, the columns of its table stay as they are.
ACTIVE_TRANSFERS = (TransferState.RUNNING,)


#: In these a worker has something to do.
WORKED_ON = (TransferState.INSPECTING, TransferState.RUNNING)
ENDED_TRANSFERS = (TransferState.DONE, TransferState.FAILED, TransferState.CANCELLED)


class ImportMode(models.TextChoices):
    """What becomes of a row whose key is in the table already."""

    APPEND = "append", "append all"
    UPSERT = "upsert", "update by key"
    SKIP = "skip", "skip known keys"


class Transfer(models.Model):
    """What imports and exports have in common. A worker has the lease while it works."""

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    file = models.ForeignKey(
        StoredFile, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    format = models.CharField(max_length=8, help_text="csv, jsonl or xlsx.")
    options = models.JSONField(default=dict, help_text="How the file is read or written.")
    state = models.CharField(
        max_length=10, choices=TransferState.choices, default=TransferState.RUNNING
    )
    reason = models.CharField(max_length=40, blank=True, help_text="Code of what went wrong.")
    message = models.CharField(max_length=500, blank=True)
    reason_params = models.JSONField(
        null=True, editable=False, help_text="Params of its reason, for other languages."
    )
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
        return f"{self.pk}: {self.state}"


class Import(Transfer):
    """A file whose rows become rows of a table, or of a new one that is created with them."""

    table = models.ForeignKey(
        Table, null=True, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    new_table = models.CharField(
        max_length=MAX_NAME_CHARS, blank=True, help_text="Name of the table to create."
    )
    file_name = models.CharField(max_length=MAX_NAME_CHARS, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    #: Of a workbook: one of its sheets as CSV.
    sheet_file = models.ForeignKey(
        StoredFile, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    state = models.CharField(
        max_length=10, choices=TransferState.choices, default=TransferState.INSPECTING
    )
    mode = models.CharField(max_length=6, choices=ImportMode.choices, default=ImportMode.APPEND)
    key_field = models.ForeignKey(
        "tables.Field", null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    columns = models.JSONField(default=list, help_text="Of the file: header and guessed kind.")
    preview = models.JSONField(default=list, help_text="The first rows, as texts.")
    mapping = models.JSONField(
        default=list, help_text="Of each column: a field, one to create, or null."
    )
    targets = models.JSONField(
        default=list, help_text="Once it was started: of each column the id of its field, or null."
    )
    created_fields = models.JSONField(
        default=list, help_text="Ids of the fields that its start has created."
    )
    max_bad_percent = models.PositiveSmallIntegerField(
        default=10, help_text="Given up if more of the rows are bad. 0: all or nothing."
    )
    created_rows = models.PositiveIntegerField(default=0)
    updated_rows = models.PositiveIntegerField(default=0)
    skipped_rows = models.PositiveIntegerField(default=0)
    bad_rows = models.PositiveIntegerField(default=0)
    report_file = models.ForeignKey(
        StoredFile,
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="Line, field, value and reason of bad cells, as CSV.",
    )
    undone_at = models.DateTimeField(null=True)
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001 - unique if given
    request_digest = models.CharField(max_length=64, blank=True)

    objects: ClassVar[models.Manager[Import]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["table", "-id"], name="import_recent"),
            models.Index(
                fields=["id"], condition=Q(state__in=["inspecting", "running"]), name="import_due"
            ),
            models.Index(fields=["owner", "-id"], name="import_of_owner"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="one_import_a_key",
            ),
        ]


class Export(Transfer):
    """The rows of a table, or of a view of it, as a file."""

    table = models.ForeignKey(Table, on_delete=models.CASCADE, db_index=False, related_name="+")
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
