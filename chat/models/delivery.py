"""Webhook endpoints, mail preferences, and deliveries with their state."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from chat.models.ids import tagged_id
from chat.models.task_states import Status
from chat.models.tasks import Task

#: The event of a task's end, by its status.
EVENT_OF: dict[str, str] = {
    Status.SUCCEEDED: "task.completed",
    Status.FAILED: "task.failed",
    Status.CANCELLED: "task.cancelled",
    Status.EXPIRED: "task.expired",
}
TASK_EVENTS = tuple(EVENT_OF.values())
#: Sent on request, to test an endpoint.
TEST_EVENT = "webhook.test"
#: A tool call waits for its user's approval. Sent where it is asked for.
ACTION_EVENT = "task.requires_action"
BUDGET_EVENT = "budget.near_end"
#: Counts of ended tasks that were too many for a mail each.
SUMMARY_EVENT = "tasks.summary"
#: `Delivery.destination` of all e-mail, which one server sends.
EMAIL_DESTINATION = 0


def all_task_events() -> list[str]:
    return list(TASK_EVENTS)


class WebhookEndpoint(models.Model):
    """A URL of a user that gets a signed webhook when one of their tasks ends."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhook_endpoints"
    )
    url = models.CharField(max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    events = ArrayField(models.CharField(max_length=30), default=all_task_events)
    only_scenes = ArrayField(
        models.CharField(max_length=50),
        default=list,
        db_default=[],
        blank=True,
        help_text="Only of tasks of these scenes, by slug. Empty: all.",
    )
    only_models = ArrayField(
        models.CharField(max_length=100),
        default=list,
        db_default=[],
        blank=True,
        help_text="Only of tasks of these models, by name. Empty: all.",
    )
    only_metadata = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="Only of tasks with these values in their metadata.",
    )
    only_named = models.BooleanField(
        default=False, db_default=False, help_text="Only of tasks that name this endpoint."
    )
    is_active = models.BooleanField(default=True)
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(max_length=200, blank=True, editable=False)
    failing_since = models.DateTimeField(
        null=True, editable=False, help_text="When the first attempt failed with no success since."
    )
    # Encrypted (chat/delivery/signing.py): signing needs the secret, a dump must not contain it.
    secret = models.TextField(editable=False)
    previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_expires_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"webhook endpoint {self.pk}"


class NotificationPreferences(models.Model):
    """The events that a user wants e-mail about; without a row, none."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="notification_preferences",
    )
    email_on_finished = models.BooleanField(default=False)
    email_on_failed = models.BooleanField(default=False, help_text="Failed or expired.")
    email_on_requires_action = models.BooleanField(
        default=False, db_default=False, help_text="A tool call waits for approval."
    )
    email_on_budget_near_end = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "notification preferences"

    def __str__(self) -> str:
        return f"notification preferences of user {self.pk}"

    def wants(self, event: str) -> bool:
        if event == "task.completed":
            return self.email_on_finished
        return self.email_on_failed and event in ("task.failed", "task.expired")


class Delivery(models.Model):
    """One event for one recipient, sent until it is delivered or MAX_ATTEMPTS are made.

    `locked_until` is the claim of the worker that sends it: if the worker dies, the claim ends, and
    the delivery is sent again. Its id is that of the message.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook"
        EMAIL = "email", "e-mail"

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="deliveries"
    )
    kind = models.CharField(max_length=7, choices=Kind.choices)
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        null=True,
        on_delete=models.CASCADE,
        db_index=False,  # delivery_recent begins with it
        related_name="deliveries",
    )
    destination = models.GeneratedField(
        expression=Coalesce(F("endpoint"), EMAIL_DESTINATION),
        output_field=models.BigIntegerField(),
        db_persist=True,
    )
    # The content is read from the task, which no longer changes, so it is not stored again.
    task = models.ForeignKey(Task, null=True, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=30)
    data = models.JSONField(default=dict, help_text="Its content besides the task.")
    key = models.CharField(
        max_length=100, blank=True, help_text="A mail with no task is sent once for each key."
    )

    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    locked_until = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "task"], name="one_delivery_an_endpoint"),
            models.UniqueConstraint(
                fields=["owner", "task"], condition=Q(kind="email"), name="one_mail_a_task"
            ),
            models.UniqueConstraint(
                fields=["owner", "key"], condition=~Q(key=""), name="one_mail_a_key"
            ),
        ]
        indexes = [
            models.Index(
                fields=["destination", "next_attempt_at"],
                condition=Q(state="pending"),
                name="delivery_due",
            ),
            models.Index(
                fields=["destination"],
                condition=Q(state="pending", locked_until__isnull=False),
                name="delivery_locked",
            ),
            models.Index(fields=["endpoint", "-id"], name="delivery_recent"),
            models.Index(
                fields=["owner", "created_at"], condition=Q(kind="email"), name="delivery_mails"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
