"""Worker processes and their leases."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from chat.models.ids import uuid7


class Worker(models.Model):
    """A worker process. Until its lease expires, no other process may take the tasks it runs.

    A row for each process, not for each task: renewing is one UPDATE every few seconds, however
    many calls the process runs. `is_dead` only changes from False to True; a process that finds
    itself declared dead stops its calls and registers under a new id.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    hostname = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(auto_now_add=True)
    lease_until = models.DateTimeField()
    steady_since = models.DateTimeField(
        db_default=Now(), help_text="Since when the lease has been renewed without a gap."
    )
    is_draining = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It claims nothing more, and stops once its calls have ended.",
    )
    is_dead = models.BooleanField(default=False)

    class Meta:
        ordering = ("-started_at",)
        indexes = [
            models.Index(
                fields=["lease_until"], condition=models.Q(is_dead=False), name="worker_live_lease"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"
