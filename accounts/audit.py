"""The audit log: actor, time and the values before and after of each change (django-auditlog).

Changes are noted by signals when rows are saved, so the admin, REST and commands are covered alike.
A command has no actor. Secrets are never among the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.auth.models import Group
from django.db.models import Model
from django.db.models.signals import pre_save
from django.http import HttpRequest
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.authentication import Identity
from accounts.models import APIKey, MenuItem, Role, RoleLimits, User, api_keys_revoked

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)


@sync_and_async_middleware
def remember_request(get_response: Callable[[HttpRequest], Any]) -> Callable[..., object]:
    """Middleware. The library's own would put a thread between each async request and its view."""

    async def remember_async(request: HttpRequest) -> object:
        token = _request.set(request)
        try:
            return await get_response(request)
        finally:
            _request.reset(token)

    def remember(request: HttpRequest) -> object:
        token = _request.set(request)
        try:
            return get_response(request)
        finally:
            _request.reset(token)

    return remember_async if iscoroutinefunction(get_response) else remember


def audited(
    model: type[Model], *, except_for: Collection[str] = (), links: Collection[str] = ()
) -> None:
    """Log changes of `model`'s rows, and of its many-to-many `links`. For `AppConfig.ready`."""
    # By name, or it would also log, and load, what points at the row from other tables.
    columns = model._meta.concrete_fields  # noqa: SLF001 - documented, for all its name
    fields = [column.name for column in columns if column.name not in except_for]
    auditlog.register(model, include_fields=fields, m2m_fields=set(links))


def connect_signals() -> None:
    """Log changes of this app's models, and set the actor of every entry."""
    audited(
        User,
        except_for=("password", "last_login"),
        links=("groups", "user_permissions"),
    )
    audited(Role, links=("permissions",))
    audited(Group)
    audited(APIKey, except_for=("digest", "last_used_at"))
    for model in (RoleLimits, MenuItem, GroupObjectPermission, UserObjectPermission):
        audited(model)
    pre_save.connect(_set_actor, sender=LogEntry)
    api_keys_revoked.connect(_log_revoked)


def current_identity() -> Identity | None:
    """Return the identity behind the current request; None outside requests, or if anonymous."""
    request = _request.get()
    identity = getattr(request, "auth", None)
    if isinstance(identity, Identity):
        return identity
    user = getattr(request, "user", None)
    return Identity(user) if user is not None and user.is_authenticated else None


def _set_actor(sender: object, instance: LogEntry, **kwargs: object) -> None:
    identity = current_identity() if instance.actor_id is None else None
    if identity is not None:
        instance.actor_id = identity.user.pk


def _log_revoked(sender: object, digests: list[str], **kwargs: object) -> None:
    # Keys are revoked by one UPDATE, which sends no signals.
    changes = {"revoked_at": ("None", str(timezone.now()))}
    for key in APIKey.objects.filter(digest__in=digests):
        LogEntry.objects.log_create(key, action=LogEntry.Action.UPDATE, changes=changes)
