"""Delegation: users grant only what they have, and only superusers change superusers.

These are the rules and the actor that they are about: the user of the current request. Commands
and the login provider have no actor, and may do everything. accounts/delegation_checks.py enforces
the rules when rows are saved; `may_change_user`, `may_change_role` and the like check the same
beforehand, for forms and lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.utils.translation import gettext as _

from accounts.access.grants import ROLES, USERS, Grants
from accounts.access.permission_labels import permission_text
from accounts.access.permissions import SHARED_BY_OWNERS, PermissionSet, permissions_of
from accounts.audit import current_identity
from accounts.models import User
from aily.problems import Forbidden

#: Fields that only a superuser may set, on any account.
POWER_FIELDS = frozenset({"is_staff", "is_superuser"})
#: Fields that only a superuser may set on their own account.
ALLOWANCE_FIELDS = frozenset(
    {"queue_weight", "requests_per_minute", "max_tasks_in_flight", "max_tasks_queued"}
)
_has_no_actor: ContextVar[bool] = ContextVar("has_no_actor", default=False)


@dataclass(frozen=True, slots=True)
class Actor:
    """The user of a request, and whether it has an API key."""

    user_id: int
    permissions: PermissionSet
    has_key: bool

    @property
    def is_superuser(self) -> bool:
        return self.permissions.is_superuser


def current_actor() -> Actor | None:
    """Return the actor of the current request; None in a command or within `without_actor`."""
    identity = None if _has_no_actor.get() else current_identity()
    if identity is None:
        return None
    has_key = identity.api_key is not None
    return Actor(identity.user.pk, permissions_of(identity.user), has_key)


@contextmanager
def without_actor() -> Iterator[None]:
    """Make changes within a request that no user is the actor of, as by a provider's groups."""
    token = _has_no_actor.set(True)
    try:
        yield
    finally:
        _has_no_actor.reset(token)


# --- The rules ----------------------------------------------------------------------------------
def may_change_user(by: User, user: User) -> bool:
    """Return whether `user` has nothing that `by` lacks: changing an account is controlling it."""
    held = permissions_of(by)
    if held.is_superuser or by.pk == user.pk:
        return True
    return not user.is_superuser and _first_lacking(held, _granted_to(user.pk)) is None


def may_change_role(by: User, role: Group) -> bool:
    """Return whether `role` grants nothing that `by` lacks. Then `by` may give it to others too."""
    held = permissions_of(by)
    return held.is_superuser or _first_lacking(held, _granted_by(role.pk)) is None


def roles_to_give(by: User) -> list[int]:
    """Return the primary keys of the roles that grant nothing that `by` lacks."""
    held = permissions_of(by)
    roles = ROLES.get_many(Group.objects.values_list("pk", flat=True))
    return [pk for pk, grants in roles.items() if _first_lacking(held, [grants]) is None]


def permissions_to_give(by: User, permissions: Iterable[Permission]) -> list[int]:
    """Return the primary keys of those permissions that `by` has on all objects."""
    held = permissions_of(by)
    return [permission.pk for permission in permissions if held.allows(permission_name(permission))]


def _first_lacking(held: PermissionSet, granted: Iterable[Grants]) -> str | None:
    """Return the first permission of `granted`, on all or single objects, that `held` lacks."""
    for grants in granted:
        for name in sorted(grants.permissions):
            if not held.allows(name):
                return name
        for name, pks in sorted(grants.objects.items()):
            # What others share with a user is as little a power of the account as the user's own
            # data; otherwise everybody could keep staff from changing an account.
            if name in SHARED_BY_OWNERS:
                continue
            if not all(held.allows(name, pk) for pk in pks):
                return name
    return None


# Bypass this process's copies, so that grants of a moment ago, also of this transaction, count.
# Inactive users count too: an account may be activated again.
def _granted_to(user_id: int) -> list[Grants]:
    user = USERS.check(user_id)
    if user is None:
        return []
    return [user, *(grants for role in user.roles for grants in _granted_by(role))]


def _granted_by(role_id: int) -> list[Grants]:
    role = ROLES.check(role_id)
    return [] if role is None else [role]


def permission_name(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


def require_control(actor: Actor, user: User) -> None:
    """Raise Forbidden if `user` may do what the actor may not."""
    if actor.is_superuser or actor.user_id == user.pk:
        return
    if user.is_superuser:
        raise Forbidden(_("Only a superuser changes a superuser."))
    if lacking := _first_lacking(actor.permissions, _granted_to(user.pk)):
        message = _("This user may do what you may not: %(permission)s.")
        raise Forbidden(message % {"permission": permission_text(lacking)})


def require_all_of_role(actor: Actor, role: Group) -> None:
    """Raise Forbidden if `role` grants what the actor may not do."""
    if actor.is_superuser:
        return
    if lacking := _first_lacking(actor.permissions, _granted_by(role.pk)):
        message = _("The role %(role)s grants what you do not have: %(permission)s.")
        raise Forbidden(message % {"role": role.name, "permission": permission_text(lacking)})


def require_permission_of(actor: Actor, name: str, object_pk: str | None) -> None:
    """Raise Forbidden if the actor lacks the permission, on the object or on all of them."""
    if not actor.permissions.allows(name, object_pk):
        message = _("You cannot give what you do not have: %(permission)s.")
        raise Forbidden(message % {"permission": permission_text(name)})
