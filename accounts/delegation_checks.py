"""Checks each change of users, roles, grants and keys against the rules of accounts/delegation.py.

The checks are signal receivers, so they cover the admin with its forms, inlines and actions, REST,
and whatever is added later. Change these rows on a thread that has the request's context, as a
synchronous view has, and never by `QuerySet.update` or `bulk_create`, which send no signals.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.db.models.signals import m2m_changed, pre_delete, pre_save
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.access.permission_labels import permission_text
from accounts.delegation import (
    ALLOWANCE_FIELDS,
    POWER_FIELDS,
    current_actor,
    permission_name,
    require_all_of_role,
    require_control,
    require_permission_of,
)
from accounts.models import APIKey, MenuItem, Role, RoleLimits, User
from aily.problems import Forbidden

_TO_USERS = gettext_lazy(
    "Only a superuser gives permissions to a user, or takes them away: use a role."
)
#: A permission on a single object, of a role or of a user (guardian).
ObjectGrant = GroupObjectPermission | UserObjectPermission


# --- Users --------------------------------------------------------------------------------------
def _check_user(
    sender: object, instance: User, update_fields: Collection[str] | None, **kwargs: object
) -> None:
    actor = current_actor()
    if actor is None:
        return
    before = User.objects.filter(pk=instance.pk).first()
    changed = _changed_fields(before, instance, update_fields) - {"last_login"}
    if not changed:
        return
    if actor.has_key:
        _require_no_credentials(before, instance, changed)
    if actor.is_superuser:
        return
    if changed & POWER_FIELDS:
        raise Forbidden(_("Only a superuser decides who is staff, or a superuser."))
    if before is not None and before.pk == actor.user_id and changed & ALLOWANCE_FIELDS:
        raise Forbidden(_("Somebody else has to change your own limits and weight."))
    if before is not None:
        require_control(actor, before)


def _changed_fields(
    before: User | None, instance: User, update_fields: Collection[str] | None
) -> set[str]:
    compared: User = before or User()
    fields = User._meta.concrete_fields  # noqa: SLF001 - documented, for all its name
    names = {field.name for field in fields if not field.primary_key}
    names &= set(update_fields) if update_fields is not None else names
    return {name for name in names if getattr(compared, name) != getattr(instance, name)}


def _require_no_credentials(before: User | None, user: User, changed: set[str]) -> None:
    """Raise Forbidden if an API key changes a credential, which would outlive the key."""
    if "password" in changed and (before is not None or user.has_usable_password()):
        raise Forbidden(_("An API key sets no passwords: log in for that."), field="password")
    if before is not None and "email" in changed and settings.OIDC_LINK_BY_EMAIL:
        raise Forbidden(_("An API key changes no address that is logged in with."), field="email")


def _check_user_deletion(sender: object, instance: User, **kwargs: object) -> None:
    if actor := current_actor():
        require_control(actor, instance)


def protect_rows_of_users(model: type[Model]) -> None:
    """Let only actors who may change its `user` delete a row of `model`."""

    def check(sender: object, instance: Any, **kwargs: object) -> None:
        if actor := current_actor():
            require_control(actor, instance.user)

    pre_delete.connect(check, sender=model, weak=False)


def _check_roles_of_users(
    sender: object,
    instance: Model,
    action: str,
    reverse: bool,
    pk_set: set[int] | None,
    **kwargs: object,
) -> None:
    actor = current_actor()
    if actor is None or actor.is_superuser or not action.startswith("pre_"):
        return
    if isinstance(instance, User):
        users, roles = [instance], Group.objects.all()
        roles = instance.groups.all() if pk_set is None else roles.filter(pk__in=pk_set)
    else:
        linked = {"groups": instance} if pk_set is None else {"pk__in": pk_set}
        users, roles = list(User.objects.filter(**linked)), Group.objects.filter(pk=instance.pk)
    if not users or not roles:
        return
    for user in users:
        if user.pk == actor.user_id:
            raise Forbidden(_("Somebody else has to change your own roles."), field="roles")
        require_control(actor, user)
    for role in roles:
        require_all_of_role(actor, role)


def _check_permissions_of_users(
    sender: object, action: str, pk_set: set[int] | None, **kwargs: object
) -> None:
    actor = current_actor()
    is_change = action in ("pre_add", "pre_remove") and pk_set
    if actor and not actor.is_superuser and (is_change or action == "pre_clear"):
        raise Forbidden(str(_TO_USERS))


# --- Roles --------------------------------------------------------------------------------------
def _check_role(sender: object, instance: Group, **kwargs: object) -> None:
    actor = current_actor()
    if actor and instance.pk is not None:
        require_all_of_role(actor, instance)


def _check_permissions_of_roles(
    sender: object, instance: Model, action: str, pk_set: set[int] | None, **kwargs: object
) -> None:
    actor = current_actor()
    if actor is None or actor.is_superuser or not action.startswith("pre_") or pk_set == set():
        return
    if isinstance(instance, Group):
        roles, permissions = [instance], Permission.objects.filter(pk__in=pk_set or ())
    else:
        linked = {"permissions": instance} if pk_set is None else {"pk__in": pk_set}
        roles = list(Group.objects.filter(**linked))
        permissions = Permission.objects.filter(pk=instance.pk)
    for role in roles:
        require_all_of_role(actor, role)
    for permission in permissions.select_related("content_type"):
        require_permission_of(actor, permission_name(permission), None)


def _check_role_limits(sender: object, instance: RoleLimits, **kwargs: object) -> None:
    actor = current_actor()
    if actor is None or actor.is_superuser:
        return
    require_all_of_role(actor, instance.role)
    if instance.role_id in actor.permissions.roles:
        raise Forbidden(_("Somebody else has to change the limits of a role of yours."))


def _check_object_grant(sender: type[ObjectGrant], instance: ObjectGrant, **kwargs: object) -> None:
    """Check a permission on a single object, both as stored and as it will be."""
    actor = current_actor()
    if actor is None or actor.is_superuser:
        return
    if sender is UserObjectPermission:
        raise Forbidden(str(_TO_USERS))
    for row in [*sender.objects.filter(pk=instance.pk), instance]:
        require_all_of_role(actor, row.group)
        require_permission_of(actor, permission_name(row.permission), row.object_pk)


def _check_object_grant_deletion(
    sender: type[ObjectGrant], instance: ObjectGrant, **kwargs: object
) -> None:
    # The object itself was deleted: its grants go with it.
    if instance.content_object is not None:
        _check_object_grant(sender, instance)


# --- Keys, and what is restricted ---------------------------------------------------------------
def _check_key(sender: object, instance: APIKey, **kwargs: object) -> None:
    actor = current_actor()
    if actor is None:
        return
    if actor.has_key and instance.pk is None:
        raise Forbidden(_("An API key makes no API keys: log in for that."))
    if instance.owner_id != actor.user_id and not actor.is_superuser:
        raise Forbidden(_("API keys are made, and changed, for oneself."), field="owner")


def _check_key_deletion(sender: object, instance: APIKey, **kwargs: object) -> None:
    if actor := current_actor():
        require_control(actor, instance.owner)


def protect_restriction(model: type[Model]) -> None:
    """Let only actors who may use a restricted row of `model` lift its restriction."""
    meta = model._meta  # noqa: SLF001 - documented, for all its name
    use = f"{meta.app_label}.use_{meta.model_name}"

    def check(
        sender: type[Model], instance: Any, update_fields: Collection[str] | None, **kwargs: object
    ) -> None:
        is_saved = update_fields is None or "is_restricted" in update_fields
        if instance.is_restricted or instance.pk is None or not is_saved:
            return
        actor = current_actor()
        if actor is None or actor.permissions.allows(use, instance.pk):
            return
        if sender._base_manager.filter(pk=instance.pk, is_restricted=True).exists():  # noqa: SLF001
            message = _("You cannot give everybody what you do not have: %(permission)s.")
            raise Forbidden(message % {"permission": permission_text(use)}, field="is_restricted")

    pre_save.connect(check, sender=model, weak=False)


def connect_signals() -> None:
    """Check every change of users, roles, grants and keys against the rules."""
    pre_save.connect(_check_user, sender=User)
    pre_delete.connect(_check_user_deletion, sender=User)
    m2m_changed.connect(_check_roles_of_users, sender=User.groups.through)
    m2m_changed.connect(_check_permissions_of_users, sender=User.user_permissions.through)
    m2m_changed.connect(_check_permissions_of_roles, sender=Group.permissions.through)
    for role in (Group, Role):  # a proxy sends signals of its own
        pre_save.connect(_check_role, sender=role)
        pre_delete.connect(_check_role, sender=role)
    for granted in (GroupObjectPermission, UserObjectPermission):
        pre_save.connect(_check_object_grant, sender=granted)
        pre_delete.connect(_check_object_grant_deletion, sender=granted)
    for signal in (pre_save, pre_delete):
        signal.connect(_check_role_limits, sender=RoleLimits)
    pre_save.connect(_check_key, sender=APIKey)
    pre_delete.connect(_check_key_deletion, sender=APIKey)
    protect_restriction(MenuItem)
