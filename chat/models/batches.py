"""Batches of OpenAI's API: what a run of them has beside the columns of all runs."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from aily.database.json_fields import OrderedJSONField
from chat.models.runs import Run


class Batch(models.Model):
    """A batch. It is committed with its run, whose id is its own, and is deleted with it."""

    run = models.OneToOneField(
        Run, primary_key=True, on_delete=models.CASCADE, related_name="batch"
    )
    endpoint = models.CharField(max_length=40)
    metadata = OrderedJSONField(default=dict)
    # No foreign keys: a batch names its files after they were deleted, too.
    input_file_id = models.UUIDField()
    output_file_id = models.UUIDField(null=True)
    error_file_id = models.UUIDField(null=True)
    output_expires_seconds = models.PositiveIntegerField(
        null=True, help_text="How long its files are kept; none: the default."
    )
    finalizing_at = models.DateTimeField(null=True)
    written_at = models.DateTimeField(null=True, help_text="When its files were whole.")
    cancelling_at = models.DateTimeField(null=True)
    cached_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager[Batch]] = models.Manager()

    class Meta:
        verbose_name = "OpenAI batch"
        verbose_name_plural = "OpenAI batches"

    def __str__(self) -> str:
        return f"batch_{self.run_id.hex}"
