"""Users, roles, API keys, second factors and menu items."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import global_settings, settings
from django.contrib.auth.models import AbstractUser, Group, Permission
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _
from django_otp.models import Device, ThrottlingMixin

from accounts.login_models import LoginEvent as LoginEvent
from accounts.login_models import UserSession as UserSession
from accounts.owner_lock import lock_owner
from aily.problems import Conflict
from aily.web.access_revocation import Access, revoke_access

#: What every key starts with, so that people and secret scanners know it when they see it.
KEY_MARK = "aily_"
#: Sent with `digests` in the transaction that revokes these keys.
api_keys_revoked = Signal()
#: Lanes of the queue, by chat's names of them.
LANES = ("interactive", "normal", "batch")
#: For how long a repeated Idempotency-Key is answered with the first answer.
IDEMPOTENCY_LIFETIME = timedelta(hours=24)


class LimitOverrides(models.Model):
    """Limits set by staff. Empty: a role's limit holds, else the installation's default."""

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
    # Whether there is a TOTPDevice: kept here to save requests a query.
    has_totp = models.BooleanField("TOTP", default=False, db_default=False, editable=False)
    totp_changed_at = models.DateTimeField(null=True, editable=False)
    # Pages note it (accounts/sessions/login.py): mails are written where no browser says.
    language = models.CharField(
        max_length=10, blank=True, default="", db_default="", editable=False,
        help_text="Of mails: that of the last page.",
    )  # fmt: skip

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save. Deactivating a user or changing the password ends their sessions."""
        loses_access = not self._state.adding and (
            not self.is_active or getattr(self, "_password", None) is not None
        )
        super().save(*args, **kwargs)
        if loses_access:
            self.end_sessions()

    def end_sessions(self) -> None:
        """Close all sockets and delete the list of sessions, none of which is valid any more: the
        session hash has changed, or the user may not log in."""
        self.sessions.all().delete()
        revoke_access(Access(self.pk))

    def get_session_auth_hash(self) -> str:
        """Return a hash that also changes when TOTP is set up or removed, which ends sessions."""
        return self._with_totp(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        for password_hash in super().get_session_auth_fallback_hash():
            yield self._with_totp(password_hash)

    def _with_totp(self, password_hash: str) -> str:
        if self.totp_changed_at is None:
            return password_hash
        # The hash has its secret key in it already, this one or an older one.
        value = f"{password_hash}{self.totp_changed_at.isoformat()}"
        return hashlib.sha256(value.encode()).hexdigest()


class TOTPDevice(ThrottlingMixin, Device):
    """A user's authenticator app, and the number of wrong codes (accounts/sessions/totp.py).

    After the first wrong code the next one is refused for a second, then for two, four, ...
    """

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="totp_device"
    )
    name = confirmed = None
    # Encrypted: codes are computed from it, so a database dump must not show it.
    secret = models.TextField(editable=False)
    last_step = models.BigIntegerField(
        default=-1,
        editable=False,
        help_text="Time step of the last code used.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    #: A pause is 2**9 seconds at most: 170 guesses a day, of which one fits in about five years.
    MAX_DOUBLINGS: ClassVar = 9

    class Meta:
        verbose_name = "TOTP device"

    def __str__(self) -> str:
        return f"TOTP device of {self.user}"

    def get_throttle_factor(self) -> float:
        return 1

    def throttle_increment(self, commit: bool = True) -> None:
        failures: int = self.throttling_failure_count  # type: ignore[has-type]
        self.throttling_failure_count = min(failures, self.MAX_DOUBLINGS)
        super().throttle_increment(commit)


class RecoveryCode(models.Model):
    """Stands in for a code of the authenticator app, once.

    A plain SHA-256 is enough: 80 random bits leave nothing to guess.
    """

    user = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        db_index=False,  # the constraint begins with it
        related_name="recovery_codes",
    )
    digest = models.CharField(max_length=64, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "digest"], name="recovery_code")]

    def __str__(self) -> str:
        return f"recovery code of {self.user}"


class Role(Group):
    """A Django group: some users, and what they may do."""

    class Meta:
        proxy = True


class RoleLimits(LimitOverrides):
    """Limits of all users with a role. Of several roles the most generous one holds."""

    role = models.OneToOneField(Role, on_delete=models.CASCADE, related_name="limits")

    class Meta:
        verbose_name_plural = "role limits"

    def __str__(self) -> str:
        return f"limits of {self.role}"


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def active(self) -> APIKeyQuerySet:
        """Keys that are neither revoked nor expired."""
        not_expired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(not_expired, revoked_at=None)

    def usable(self) -> APIKeyQuerySet:
        """Active keys whose owner may log in."""
        return self.active().filter(owner__is_active=True)

    def revoke(self) -> int:
        """Revoke the keys not revoked yet, and close their sockets. Returns how many."""
        unrevoked = self.filter(revoked_at=None)
        keys = list(unrevoked.values_list("pk", "owner_id", "digest"))
        count = unrevoked.filter(pk__in=[pk for pk, *_ in keys]).update(revoked_at=timezone.now())
        api_keys_revoked.send(self.model, digests=[digest for *_, digest in keys])
        for pk, owner_id, _digest in keys:
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
    lane = models.CharField(
        max_length=11,
        blank=True,
        default="",
        db_default="",
        choices=[(name, name) for name in LANES],
        help_text="Of tasks whose request names none. Empty: by the way in which it is made.",
    )

    objects: ClassVar = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def create(
        cls, owner: User, name: str, expires_at: datetime | None = None, *, lane: str = ""
    ) -> tuple[APIKey, str]:
        """Make a key for `owner`. Returns it with its secret, which is not stored."""
        key = cls(owner=owner, name=name, expires_at=expires_at, lane=lane)
        return key, key.issue()

    def issue(self) -> str:
        """Give this new key a secret, save it, and return the secret.

        Raises Conflict where its owner has API_KEYS_MAX_PER_USER already.
        """
        secret = KEY_MARK + secrets.token_urlsafe(32)
        self.prefix = secret[:12]
        self.digest = self.digest_of(secret)
        with transaction.atomic():
            lock_owner(self.owner_id)
            keys = APIKey.objects.filter(owner=self.owner_id).active().count()
            if keys >= settings.API_KEYS_MAX_PER_USER:
                message = _("There are %(count)d API keys, as many as allowed: revoke some.")
                raise Conflict(message % {"count": keys})
            self.save(force_insert=True)
        return secret

    @staticmethod
    def digest_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()


class IdempotencyRecordQuerySet(models.QuerySet["IdempotencyRecord"]):
    def expired(self) -> IdempotencyRecordQuerySet:
        return self.filter(created_at__lt=timezone.now() - IDEMPOTENCY_LIFETIME)


class IdempotencyRecord(models.Model):
    """The response to a request with an Idempotency-Key (accounts/idempotency.py)."""

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


def validate_route(value: str) -> None:
    if not value.startswith(("/", "https://")) or value.startswith("//"):
        raise ValidationError(_("A path, such as /admin/, or an https address."))


MAX_LABEL_CHARS = 100
#: Codes of the languages that menu items may have labels in: more than pages are translated into.
MENU_LANGUAGES = frozenset(code for code, _name in global_settings.LANGUAGES)


def validate_translations(value: object) -> None:
    if not isinstance(value, dict) or not all(map(_is_label, value.values())):
        message = _('A JSON object of labels by language, such as {"de": "Aufgaben"}.')
        raise ValidationError(message)
    if any(len(text) > MAX_LABEL_CHARS for text in value.values()):
        message = _("A label may have %(limit)d characters at most.")
        raise ValidationError(message % {"limit": MAX_LABEL_CHARS})
    if unknown := value.keys() - MENU_LANGUAGES:
        message = _("Unknown language: %(codes)s.")
        raise ValidationError(message % {"codes": ", ".join(sorted(unknown))})


def _is_label(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


class MenuItem(models.Model):
    """An entry of the menu tree, at its place among those with the same parent.

    A trigger (migration 0004) keeps items from getting below themselves, also by concurrent moves.
    """

    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    position = models.PositiveIntegerField(default=0, help_text="Among its siblings, from 0.")
    label = models.CharField(max_length=MAX_LABEL_CHARS)
    translations = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_translations],
        help_text='Labels in other languages, such as {"de": "Aufgaben"}.',
    )
    icon = models.SlugField(blank=True, help_text="Name of an icon of the front end.")
    route = models.CharField(
        max_length=200, blank=True, validators=[validate_route], help_text="Empty: a heading."
    )
    is_enabled = models.BooleanField(default=True)
    is_restricted = models.BooleanField(
        default=False, help_text="Only for those who have the permission to use it."
    )
    permission = models.CharField(
        max_length=200,
        blank=True,
        help_text="Only for those who have this permission as well, such as chat.view_task.",
    )

    class Meta:
        ordering = ("position", "id")
        permissions = [("use_menuitem", "Can use menu item")]

    def __str__(self) -> str:
        return self.label

    def clean(self) -> None:
        if self.permission:
            app, _dot, codename = self.permission.partition(".")
            known = Permission.objects.filter(content_type__app_label=app, codename=codename)
            if not known.exists():
                message = _("There is no permission %(name)s.") % {"name": self.permission}
                raise ValidationError({"permission": message})
