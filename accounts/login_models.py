"""Sessions by user, and the audit trail of login attempts."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone


class UserSession(models.Model):
    """A Django session with its user, and where it was last used from.

    Django's own table has no column for the user. A row may outlive its session for a while, and
    grants nothing.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sessions"
    )
    session_key = models.CharField(
        max_length=40, unique=True, editable=False, help_text="A secret, as in Django's table."
    )
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(default=timezone.now)
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"session {self.pk} of user {self.user_id}"


class LoginOutcome(models.TextChoices):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused", "refused unchecked"


class LoginMethod(models.TextChoices):
    PASSWORD = "password"  # noqa: S105 - a name
    CODE = "code", "second factor"
    PROVIDER = "provider", "login provider"
    OWN_PASSWORD = "own_password", "own password, within a session"


class LoginEvent(models.Model):
    """Login attempts of an hour: equal ones share a row.

    A typed name that no account has may be a password, so it is not stored.
    """

    hour = models.DateTimeField(editable=False)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)
    outcome = models.CharField(max_length=10, choices=LoginOutcome)
    method = models.CharField(max_length=12, choices=LoginMethod)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    username = models.CharField(max_length=150, blank=True, help_text="Empty: there is no account.")
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True, help_text="Of the last attempt.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["hour", "username", "address", "method", "outcome"],
                name="login_event",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        name = self.username or "?"
        return f"{name} {self.get_outcome_display()} {self.last_at:%Y-%m-%d %H:%M}"
