"""Runs: many requests as one thing. A row becomes a task when the queue has room for it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from pydantic import JsonValue

from chat.models.files import StoredFile
from chat.models.ids import tagged_id
from chat.models.llm_models import LLMModel
from chat.models.money import money_field
from chat.models.task_states import Lane


class RunState(models.TextChoices):
    """validating → ready → scheduled ⇄ running ⇄ paused → finishing → done | cancelled | expired;
    validating → failed."""

    VALIDATING = "validating"
    READY = "ready"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHING = "finishing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in ENDED_RUNS


ENDED_RUNS = (RunState.DONE, RunState.CANCELLED, RunState.FAILED, RunState.EXPIRED)
#: States in which rows may be in flight or be fed.
ACTIVE_RUNS = (RunState.SCHEDULED, RunState.RUNNING, RunState.PAUSED, RunState.FINISHING)


class RowState(models.TextChoices):
    """pending → open → succeeded | failed | cancelled | expired; open → pending to be fed again;
    pending → skipped, as there was nothing to ask. An invalid row is never fed."""

    PENDING = "pending"
    OPEN = "open"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    INVALID = "invalid"
    SKIPPED = "skipped"


class Start(models.TextChoices):
    """When a run begins: at once, in the cheapest hours of its model, or at a time."""

    NOW = "now"
    OFF_PEAK = "off_peak"
    AT = "at"


class Run(models.Model):
    """Many requests of one user. Its rows are counted in columns, so that progress is one row.

    Every change of `state` is one conditional UPDATE. Counters change in the transaction that
    changes the rows they count.
    """

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="runs"
    )
    api_key = models.ForeignKey(
        "accounts.APIKey",
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="What it was made with; none: a session.",
    )
    kind = models.CharField(max_length=20, help_text="What its rows come from.")
    name = models.CharField(max_length=200)
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001 - NULL is not unique
    request_digest = models.CharField(max_length=64, blank=True)

    # --- What is asked
    input_file = models.ForeignKey(
        StoredFile, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    source = models.JSONField(default=dict, help_text="How the rows are read: format, encoding.")
    columns = models.JSONField(default=list, help_text="Names that the rows' values have.")
    scene = models.CharField(max_length=50, blank=True, help_text="By slug; empty: whole requests.")
    scene_version = models.PositiveIntegerField(
        null=True, help_text="The version that was live at the start."
    )
    mapping = models.JSONField(
        default=dict, help_text="Of each variable of the scene: its column, or a constant."
    )
    options = models.JSONField(default=dict, help_text="Fields of every request.")
    model = models.ForeignKey(
        LLMModel, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    lane = models.PositiveSmallIntegerField(choices=Lane.choices, default=Lane.BATCH)
    deadline_at = models.DateTimeField(null=True)
    max_cost = models.DecimalField(max_digits=18, decimal_places=6, null=True)
    currency = models.CharField(max_length=3, blank=True)
    row_cost = models.DecimalField(
        max_digits=24, decimal_places=12, default=0, help_text="Estimated at the start."
    )
    start = models.CharField(max_length=8, choices=Start.choices, blank=True)
    start_at = models.DateTimeField(null=True)
    max_open = models.PositiveIntegerField(
        null=True, help_text="Most tasks in the queue or running at once; none: by the model's cap."
    )
    shares_equal_rows = models.BooleanField(
        default=False, help_text="Equal requests of its rows are answered by one call."
    )
    webhook = models.ForeignKey(
        "chat.WebhookEndpoint",
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )

    # --- What has become of it
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.VALIDATING)
    reason = models.CharField(max_length=40, blank=True, help_text="Why it is in its state.")
    message = models.CharField(max_length=500, blank=True)
    reason_params = models.JSONField(
        null=True, editable=False, help_text="Params of its reason, for other languages."
    )
    ends_as = models.CharField(max_length=10, blank=True, help_text="While it is finishing.")
    errors = models.JSONField(default=list, help_text="What is wrong with its file.")
    total = models.PositiveIntegerField(default=0)
    pending = models.PositiveIntegerField(default=0)
    open = models.PositiveIntegerField(default=0)
    succeeded = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    expired = models.PositiveIntegerField(default=0)
    invalid = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(
        default=0, help_text="Rows for which there was nothing to ask."
    )
    input_bytes = models.BigIntegerField(default=0, help_text="Of the valid rows' payloads.")
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cost = money_field()
    rate = models.FloatField(default=0, help_text="Results a second, fading over 30 s.")
    rate_at = models.DateTimeField(null=True)
    failing_streak = models.PositiveIntegerField(
        default=0, help_text="Rows that failed for good since the last that succeeded."
    )
    failing_code = models.CharField(max_length=60, blank=True)

    # --- The feeder's lease
    fed_by = models.UUIDField(null=True)
    fed_until = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True, help_text="When its open rows were last checked.")

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Run]] = models.Manager()

    #: That of its scene's version, set by code that reads it. Not a column.
    variables_schema: dict[str, JsonValue] | None = None

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="unique_run_idempotency_key",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "kind", "-id"], name="run_owner_recent"),
            models.Index(
                fields=["id"],
                condition=~Q(state__in=["done", "cancelled", "failed", "expired"]),
                name="run_not_ended",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ended_rows(self) -> int:
        """Rows that were run and have ended."""
        return self.succeeded + self.failed + self.cancelled + self.expired


class RunRow(models.Model):
    """One request of a run. `number` is its place among the rows, from 1.

    Its task has the idempotency key of run, number and generation, so that feeding it twice makes
    one task. The generation rises with each feeding.
    """

    # Without a constraint, whose check of each row takes half of a second at 100,000 rows. Whatever
    # inserts rows holds the lock of their run.
    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, db_index=False, db_constraint=False, related_name="rows"
    )
    number = models.PositiveIntegerField()
    line = models.PositiveIntegerField(help_text="In its file, from 1.")
    key = models.CharField(max_length=512, blank=True, help_text="The caller's own name for it.")
    payload = models.JSONField(help_text="Its values by column, or a whole request.", null=True)
    payload_bytes = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=9, choices=RowState.choices, default=RowState.PENDING)
    task_id = models.UUIDField(null=True)
    generation = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(
        default=0, help_text="Tasks of it that failed, though another may succeed."
    )
    not_before = models.DateTimeField(null=True)
    error = models.JSONField(null=True)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cost = money_field()
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[RunRow]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="one_run_row_a_number"),
        ]
        indexes = [
            models.Index(fields=["run", "state", "number"], name="run_row_state"),
            # Settling finds the rows of ended tasks by it.
            models.Index(fields=["task_id"], condition=Q(state="open"), name="run_row_open"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}[{self.number}]"
