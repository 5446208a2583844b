"""Runs of AI fields: what was asked, of which rows, and what cells held before."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from chat.models import Run
from chat.tables.models.ai_fields import AiField
from chat.tables.models.tables import Table


class AiConfig(models.Model):
    """All that decides what is asked of an AI field's row, besides the row: written once.

    `digest` is the first 16 bytes of the SHA-256 of its canonical JSON. Cells name it, so that
    their provenance is known as long as they are there.
    """

    ai_field = models.ForeignKey(AiField, on_delete=models.CASCADE, related_name="configs")
    digest = models.BinaryField(max_length=16)
    content = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[AiConfig]] = models.Manager()

    class Meta:
        verbose_name = "AI configuration"
        constraints = [
            models.UniqueConstraint(fields=["ai_field", "digest"], name="one_ai_config_a_digest"),
        ]

    def __str__(self) -> str:
        return bytes(self.digest).hex()


class Which(models.TextChoices):
    """Which cells of the rows in its scope a run fills."""

    EMPTY = "empty", "empty"
    STALE = "stale", "stale"
    EMPTY_OR_STALE = "empty_or_stale", "empty or stale"
    FAILED = "failed", "failed"
    REJECTED = "rejected", "rejected"
    ALL = "all", "all"


class AiRun(models.Model):
    """What a run has as a run of an AI field. Its rows and counters are those of `run`."""

    run = models.OneToOneField(
        Run, primary_key=True, on_delete=models.CASCADE, related_name="ai_run"
    )
    table = models.ForeignKey(
        Table, on_delete=models.CASCADE, db_index=False, related_name="ai_runs"
    )
    ai_field = models.ForeignKey(
        AiField, on_delete=models.CASCADE, db_index=False, related_name="runs"
    )
    config = models.ForeignKey(AiConfig, on_delete=models.CASCADE, db_index=False, related_name="+")
    scope = models.JSONField(default=dict, help_text="Which rows, as they were asked for.")
    which = models.CharField(max_length=14, choices=Which.choices, default=Which.EMPTY)
    overwrites_edited = models.BooleanField(
        default=False, help_text="Whether it fills cells that people have edited before it began."
    )
    condition = models.JSONField(null=True, help_text="The field's, when the run was made.")
    waits_for = models.JSONField(
        default=list, help_text="Runs of fields that this one reads, with the same rows."
    )
    is_automatic = models.BooleanField(default=False, help_text="Made by the field's policy.")
    comparison = models.ForeignKey(
        "tables.Comparison",
        null=True,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="runs",
        help_text="Its results are shown there, and in no cell.",
    )
    reverted_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[AiRun]] = models.Manager()

    class Meta:
        ordering = ("-run_id",)
        verbose_name = "run of an AI field"
        verbose_name_plural = "runs of AI fields"
        indexes = [
            models.Index(fields=["ai_field", "-run"], name="ai_run_of_field"),
            models.Index(fields=["table", "-run"], name="ai_run_of_table"),
        ]

    def __str__(self) -> str:
        return str(self.run_id)


class CellVersion(models.Model):
    """What a cell of an AI field held, or a result that came too late for it.

    `cell` is the row of `tables.a<id>` as JSON, from which it can be restored.
    """

    class Reason(models.TextChoices):
        REPLACED = "replaced", "replaced by a later answer"
        EDITED = "edited", "replaced by hand"
        LATE = "late", "came after an edit or a later answer"
        REVERTED = "reverted", "taken back"

    id: int
    ai_field = models.ForeignKey(
        AiField, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    row_id = models.BigIntegerField()
    reason = models.CharField(max_length=8, choices=Reason.choices)
    by_run = models.UUIDField(null=True, help_text="The run that replaced it.")
    by_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )
    cell = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True, db_default=models.functions.Now())

    objects: ClassVar[models.Manager[CellVersion]] = models.Manager()

    class Meta:
        indexes = [
            models.Index(fields=["ai_field", "row_id", "-id"], name="cell_version_of_cell"),
            models.Index(
                fields=["by_run"],
                condition=models.Q(by_run__isnull=False),
                name="cell_version_of_run",
            ),
        ]

    def __str__(self) -> str:
        return f"a{self.ai_field_id}[{self.row_id}]"


class Comparison(models.Model):
    """Two configurations of an AI field, asked about the same sample of rows."""

    id: int
    ai_field = models.ForeignKey(AiField, on_delete=models.CASCADE, related_name="comparisons")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    is_blind = models.BooleanField(default=False, help_text="The sides stay hidden until the end.")
    truth = models.JSONField(
        null=True, help_text="Of outputs: the key of the field that has the right answer."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Comparison]] = models.Manager()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.ai_field}: {self.pk}"
