"""Delegation: nobody gives what they do not have, and only superusers touch superusers.

The rules hold where rows are saved, by signals, as the audit log's do: the admin with its forms,
inlines and actions, REST, and whatever is added later are covered alike. The actor is the user of
the request under way; commands and the login provider have none, and may do everything. So a
change of these rows belongs on a thread that has the request's context (a synchronous view has),
and never into `QuerySet.update` or `bulk_create`, which send no signals.

`may_change_user`, `may_change_role` and the like say the same beforehand, for forms and lists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.db.models.signals import m2m_changed, pre_delete, pre_save
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.access.grants import ROLES, USERS, Grants
from accounts.access.permissions import PermissionSet, permissions_of
from accounts.audit import current_identity
from accounts.models import APIKey, MenuItem, Role, RoleLimits, User
from aily.problems import Forbidden

#: Fields that only a superuser may set, on any account.
POWER_FIELDS = frozenset({"is_staff", "is_superuser"})
#: Fields that nobody but a superuser sets for themselves.
ALLOWANCE_FIELDS = frozenset(
    {"queue_weight", "requests_per_minute", "max_tasks_in_flight", "max_tasks_queued"}
)
_TO_USERS = "Only a superuser gives permissions to a user, or takes them away: use a role."

_has_no_actor: ContextVar[bool] = ContextVar("has_no_actor", default=False)


@dataclass(frozen=True, slots=True)
class Actor:
    """The user of a request, and whether they came with an API key."""

    user_id: int
    permissions: PermissionSet
    has_key: bool

    @property
    def is_superuser(self) -> bool:
        return self.permissions.is_superuser


def current_actor() -> Actor | None:
    """Who is making the changes of this request; None for a command or `without_actor`."""
    identity = None if _has_no_actor.get() else current_identity()
    if identity is None:
        return None
    has_key = identity.api_key is not None
    return Actor(identity.user.pk, permissions_of(identity.user), has_key)


@contextmanager
def without_actor() -> Iterator[None]:
    """Let the program itself make changes within a request, as a login provider's groups do."""
    token = _has_no_actor.set(True)
    try:
        yield
    finally:
        _has_no_actor.reset(token)


# --- The rules ----------------------------------------------------------------------------------
def may_change_user(by: User, user: User) -> bool:
    """Whether `user` has nothing that `by` lacks: to change an account is to control it."""
    held = permissions_of(by)
    if held.is_superuser or by.pk == user.pk:
        return True
    return not user.is_superuser and _lacking(held, _granted_to(user.pk)) is None


def may_change_role(by: User, role: Group) -> bool:
    """Whether `role` grants nothing that `by` lacks. So may they give it to others as well."""
    held = permissions_of(by)
    return held.is_superuser or _lacking(held, _granted_by(role.pk)) is None


def roles_to_give(by: User) -> list[int]:
    """Primary keys of the roles that grant nothing that `by` lacks."""
    held = permissions_of(by)
    roles = ROLES.get_many(Group.objects.values_list("pk", flat=True))
    return [pk for pk, grants in roles.items() if _lacking(held, [grants]) is None]


def permissions_to_give(by: User, permissions: Iterable[Permission]) -> list[int]:
    """Primary keys of those of the permissions that `by` has on all objects."""
    held = permissions_of(by)
    return [permission.pk for permission in permissions if held.allows(_name(permission))]


def _lacking(held: PermissionSet, granted: Iterable[Grants]) -> str | None:
    """The first permission of `granted`, on all or single objects, that `held` does not allow."""
    for grants in granted:
        for name in sorted(grants.permissions):
            if not held.allows(name):
                return name
        for name, pks in sorted(grants.objects.items()):
            if not all(held.allows(name, pk) for pk in pks):
                return name
    return None


# Past the process's copies, and in a transaction as that sees it: what was granted a moment ago
# counts. Whether the user is active does not: an account may be activated again.
def _granted_to(user_id: int) -> list[Grants]:
    user = USERS.check(user_id)
    if user is None:
        return []
    return [user, *(grants for role in user.roles for grants in _granted_by(role))]


def _granted_by(role_id: int) -> list[Grants]:
    role = ROLES.check(role_id)
    return [] if role is None else [role]


def _name(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


def _require_covered(actor: Actor, user: User) -> None:
    """Raise Forbidden where `user` may do what the actor may not."""
    if actor.is_superuser or actor.user_id == user.pk:
        return
    if user.is_superuser:
        raise Forbidden("Only a superuser changes a superuser.")
    if lacking := _lacking(actor.permissions, _granted_to(user.pk)):
        raise Forbidden(f"This user may do what you may not: {lacking}.")


def _require_held(actor: Actor, role: Group) -> None:
    """Raise Forbidden where `role` grants what the actor may not do."""
    if actor.is_superuser:
        return
    if lacking := _lacking(actor.permissions, _granted_by(role.pk)):
        raise Forbidden(f"The role {role.name} grants what you do not have: {lacking}.")


# --- Users --------------------------------------------------------------------------------------
def _saving_user(
    sender: Any, instance: User, update_fields: Collection[str] | None, **kwargs: Any
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
        raise Forbidden("Only a superuser says who is staff, or a superuser.")
    if before is not None and before.pk == actor.user_id and changed & ALLOWANCE_FIELDS:
        raise Forbidden("Somebody else has to change your own limits and weight.")
    if before is not None:
        _require_covered(actor, before)


def _changed_fields(
    before: User | None, instance: User, update_fields: Collection[str] | None
) -> set[str]:
    compared: User = before or User()
    fields = User._meta.concrete_fields  # noqa: SLF001 - documented, for all its name
    names = {field.name for field in fields if not field.primary_key}
    names &= set(update_fields) if update_fields is not None else names
    return {name for name in names if getattr(compared, name) != getattr(instance, name)}


def _require_no_credentials(before: User | None, user: User, changed: set[str]) -> None:
    """What a key made would outlive its end, its limits and its revocation."""
    if "password" in changed and (before is not None or user.has_usable_password()):
        raise Forbidden("An API key sets no passwords: log in for that.", field="password")
    if before is not None and "email" in changed and settings.OIDC_LINK_BY_EMAIL:
        raise Forbidden("An API key changes no address that is logged in with.", field="email")


def _deleting_user(sender: Any, instance: User, **kwargs: Any) -> None:
    if actor := current_actor():
        _require_covered(actor, instance)


def protect_rows_of_users(model: type[Model]) -> None:
    """Have rows of `model`, which have a `user`, deleted by those only who may change that user."""

    def check(sender: Any, instance: Any, **kwargs: Any) -> None:
        if actor := current_actor():
            _require_covered(actor, instance.user)

    pre_delete.connect(check, sender=model, weak=False)


def _giving_roles(
    sender: Any, instance: Model, action: str, reverse: bool, pk_set: Any, **kwargs: Any
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
            raise Forbidden("Somebody else has to change your own roles.", field="roles")
        _require_covered(actor, user)
    for role in roles:
        _require_held(actor, role)


def _giving_permissions_to_users(sender: Any, action: str, pk_set: Any, **kwargs: Any) -> None:
    actor = current_actor()
    is_change = action in ("pre_add", "pre_remove") and pk_set
    if actor and not actor.is_superuser and (is_change or action == "pre_clear"):
        raise Forbidden(_TO_USERS)


# --- Roles --------------------------------------------------------------------------------------
def _changing_role(sender: Any, instance: Group, **kwargs: Any) -> None:
    actor = current_actor()
    if actor and instance.pk is not None:
        _require_held(actor, instance)


def _giving_permissions_to_roles(
    sender: Any, instance: Model, action: str, pk_set: Any, **kwargs: Any
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
        _require_held(actor, role)
    for permission in permissions.select_related("content_type"):
        _require_permission(actor, _name(permission), None)


def _require_permission(actor: Actor, name: str, object_pk: str | None) -> None:
    if not actor.permissions.allows(name, object_pk):
        raise Forbidden(f"You cannot give what you do not have: {name}.")


def _changing_role_limits(sender: Any, instance: RoleLimits, **kwargs: Any) -> None:
    actor = current_actor()
    if actor is None or actor.is_superuser:
        return
    _require_held(actor, instance.role)
    if instance.role_id in actor.permissions.roles:
        raise Forbidden("Somebody else has to change the limits of a role of yours.")


def _granting_on_object(sender: Any, instance: Any, **kwargs: Any) -> None:
    """A permission on a single object, as it was and as it is to be."""
    actor = current_actor()
    if actor is None or actor.is_superuser:
        return
    if sender is UserObjectPermission:
        raise Forbidden(_TO_USERS)
    for row in [*sender.objects.filter(pk=instance.pk), instance]:
        _require_held(actor, row.group)
        _require_permission(actor, _name(row.permission), row.object_pk)


def _withdrawing_on_object(sender: Any, instance: Any, **kwargs: Any) -> None:
    # With the object itself all that was granted on it goes, whoever deleted that.
    if instance.content_object is not None:
        _granting_on_object(sender, instance)


# --- Keys, and what is restricted ---------------------------------------------------------------
def _saving_key(sender: Any, instance: APIKey, **kwargs: Any) -> None:
    actor = current_actor()
    if actor is None:
        return
    if actor.has_key and instance.pk is None:
        raise Forbidden("An API key makes no API keys: log in for that.")
    if instance.owner_id != actor.user_id and not actor.is_superuser:
        raise Forbidden("API keys are made, and changed, for oneself.", field="owner")


def _deleting_key(sender: Any, instance: APIKey, **kwargs: Any) -> None:
    if actor := current_actor():
        _require_covered(actor, instance.owner)


def protect_restriction(model: type[Model]) -> None:
    """Have restricted rows of `model` opened to everybody by those only who may use them."""
    meta = model._meta  # noqa: SLF001 - documented, for all its name
    use = f"{meta.app_label}.use_{meta.model_name}"

    def check(
        sender: Any, instance: Any, update_fields: Collection[str] | None, **kwargs: Any
    ) -> None:
        is_said = update_fields is None or "is_restricted" in update_fields
        if instance.is_restricted or instance.pk is None or not is_said:
            return
        actor = current_actor()
        if actor is None or actor.permissions.allows(use, instance.pk):
            return
        if sender._base_manager.filter(pk=instance.pk, is_restricted=True).exists():  # noqa: SLF001
            message = f"You cannot give everybody what you do not have: {use}."
            raise Forbidden(message, field="is_restricted")

    pre_save.connect(check, sender=model, weak=False)


def connect_signals() -> None:
    """Hold every change of users, roles, grants and keys against the rules."""
    pre_save.connect(_saving_user, sender=User)
    pre_delete.connect(_deleting_user, sender=User)
    m2m_changed.connect(_giving_roles, sender=User.groups.through)
    m2m_changed.connect(_giving_permissions_to_users, sender=User.user_permissions.through)
    m2m_changed.connect(_giving_permissions_to_roles, sender=Group.permissions.through)
    for role in (Group, Role):  # a proxy sends signals of its own
        pre_save.connect(_changing_role, sender=role)
        pre_delete.connect(_changing_role, sender=role)
    for granted in (GroupObjectPermission, UserObjectPermission):
        pre_save.connect(_granting_on_object, sender=granted)
        pre_delete.connect(_withdrawing_on_object, sender=granted)
    for signal in (pre_save, pre_delete):
        signal.connect(_changing_role_limits, sender=RoleLimits)
    pre_save.connect(_saving_key, sender=APIKey)
    pre_delete.connect(_deleting_key, sender=APIKey)
    protect_restriction(MenuItem)
