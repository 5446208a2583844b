"""Users and the keys their programs use."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from aily.sockets import Access, revoke_access

#: What every key starts with, so that people and secret scanners know it when they see it.
KEY_MARK = "aily_"
#: For how long a repeated Idempotency-Key is answered with the first answer.
IDEMPOTENCY_LIFETIME = timedelta(hours=24)


class LimitOverrides(models.Model):
    """Limits that staff set in place of the installation's defaults. Empty: the next best holds."""

    requests_per_minute = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    max_tasks_in_flight = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Tasks that have not ended, waiting or running.",
    )
    max_tasks_queued = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Tasks that wait."
    )

    class Meta:
        abstract = True


class User(AbstractUser, LimitOverrides):  # noqa: DJ008 - AbstractUser has __str__
    """Custom from the first migration, so that it can grow."""

    queue_weight = models.FloatField(
        default=1,
        validators=[MinValueValidator(0.1), MaxValueValidator(100)],
        help_text="Share of a lane's capacity: 2 gets twice as many turns as 1.",
    )

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A user who is shut out, or gets another password, loses all open sockets."""
        is_shut_out = not self._state.adding and (
            not self.is_active or getattr(self, "_password", None) is not None
        )
        super().save(*args, **kwargs)
        if is_shut_out:
            revoke_access(Access(self.pk))


class RoleLimits(LimitOverrides):
    """Limits of everybody with a role. Of several roles the most generous one holds."""

    role = models.OneToOneField(Group, on_delete=models.CASCADE, related_name="limits")

    class Meta:
        verbose_name_plural = "role limits"

    def __str__(self) -> str:
        return f"limits of {self.role}"


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def usable(self) -> APIKeyQuerySet:
        """Keys that are neither revoked nor expired and whose owner may log in."""
        not_expired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(not_expired, revoked_at=None, owner__is_active=True)

    def revoke(self) -> int:
        """Revoke those not revoked yet, and close their sockets. Returns how many that were."""
        unrevoked = self.filter(revoked_at=None)
        keys = list(unrevoked.values_list("pk", "owner_id"))
        count = unrevoked.filter(pk__in=[pk for pk, _ in keys]).update(revoked_at=timezone.now())
        for pk, owner_id in keys:
            revoke_access(Access(owner_id, api_key_id=pk))
        return count


class APIKey(models.Model):
    """A Bearer credential. Only its SHA-256 is stored; the secret is shown once, when made.

    A plain hash is enough: the secret has 256 random bits, so there is nothing to guess.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(max_length=100)
    prefix = models.CharField(
        max_length=16, editable=False, help_text="First characters, to tell keys apart."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Of this key alone; its owner's limit holds as well.",
    )

    objects: ClassVar = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def create(
        cls, owner: User, name: str, expires_at: datetime | None = None
    ) -> tuple[APIKey, str]:
        """Make a key for `owner`. Returns it with its secret, which cannot be had again."""
        key = cls(owner=owner, name=name, expires_at=expires_at)
        return key, key.issue()

    def issue(self) -> str:
        """Give this new key a secret, save it, and return the secret."""
        secret = KEY_MARK + secrets.token_urlsafe(32)
        self.prefix = secret[:12]
        self.digest = self.digest_of(secret)
        self.save(force_insert=True)
        return secret

    @staticmethod
    def digest_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()


class IdempotencyRecordQuerySet(models.QuerySet["IdempotencyRecord"]):
    def expired(self) -> IdempotencyRecordQuerySet:
        return self.filter(created_at__lt=timezone.now() - IDEMPOTENCY_LIFETIME)


class IdempotencyRecord(models.Model):
    """What a request with an Idempotency-Key was answered (accounts/idempotency.py)."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, help_text="Of method, path and body.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField(null=True, help_text="Null: it holds a secret.")  # noqa: DJ001
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    objects: ClassVar = IdempotencyRecordQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="unique_idempotency_record")
        ]

    def __str__(self) -> str:
        return self.key
