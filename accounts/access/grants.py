"""Permissions and limits of users and roles as the cache holds them, and their invalidation.

A role has a cache entry of its own, so that changing it invalidates one key, however many users
have it. Rows written without Django's signals (`QuerySet.update`, `bulk_create`) are seen within
minutes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.models import RoleLimits, User
from aily.cache import Cached, keys

V = TypeVar("V")


class Grants(msgspec.Struct, frozen=True):
    """Permissions, such as "chat.use_scene": on all objects, and on some by primary key."""

    permissions: frozenset[str] = frozenset()
    objects: dict[str, frozenset[str]] = {}

    def allows(self, permission: str, pk: str | None) -> bool:
        return permission in self.permissions or pk in self.objects.get(permission, ())


#: Requests a minute, tasks in flight, tasks queued, as staff set them. None: not set.
LimitOverrides = tuple[int | None, int | None, int | None]


class UserGrants(Grants, frozen=True):
    """A user with their roles, and what is granted to them beyond those."""

    username: str = ""
    is_active: bool = False
    is_staff: bool = False
    is_superuser: bool = False
    has_totp: bool = False
    roles: tuple[int, ...] = ()
    #: Each of their sessions holds it; it changes with the password and the second factor.
    session_hash: str = ""
    limits: LimitOverrides = (None, None, None)


class RoleGrants(Grants, frozen=True):
    name: str = ""
    limits: LimitOverrides = (None, None, None)


# --- Loading ------------------------------------------------------------------------------------
_USER_COLUMNS = ("username", "is_active", "is_staff", "is_superuser", "has_totp")


def _load_users(ids: Collection[int]) -> dict[int, UserGrants]:
    roles: defaultdict[int, list[int]] = defaultdict(list)
    members = User.groups.through.objects.filter(user__in=ids)
    for user_id, role_id in members.values_list("user_id", "group_id"):
        roles[user_id].append(role_id)
    permissions = _permissions(User.user_permissions.through.objects.filter(user__in=ids), "user")
    objects = _objects(UserObjectPermission.objects.filter(user__in=ids), "user")
    return {
        user.pk: UserGrants(
            permissions[user.pk],
            objects[user.pk],
            **{name: getattr(user, name) for name in _USER_COLUMNS},
            roles=tuple(sorted(roles[user.pk])),
            session_hash=user.get_session_auth_hash(),
            limits=_limits(user),
        )
        for user in User.objects.filter(pk__in=ids)
    }


def _load_roles(ids: Collection[int]) -> dict[int, RoleGrants]:
    names = Group.objects.filter(pk__in=ids).values_list("pk", "name")
    permissions = _permissions(Group.permissions.through.objects.filter(group__in=ids), "group")
    objects = _objects(GroupObjectPermission.objects.filter(group__in=ids), "group")
    limits = {row.role_id: _limits(row) for row in RoleLimits.objects.filter(role__in=ids)}
    nothing = (None, None, None)
    return {
        pk: RoleGrants(permissions[pk], objects[pk], name, limits.get(pk, nothing))
        for pk, name in names
    }


def _limits(row: User | RoleLimits) -> LimitOverrides:
    return row.requests_per_minute, row.max_tasks_in_flight, row.max_tasks_queued


_PERMISSION = ("permission__content_type__app_label", "permission__codename")


def _permissions(rows: QuerySet[Model], holder: str) -> defaultdict[int, frozenset[str]]:
    found: defaultdict[int, frozenset[str]] = defaultdict(frozenset)
    for pk, app, codename in rows.values_list(f"{holder}_id", *_PERMISSION):
        found[pk] |= {f"{app}.{codename}"}
    return found


def _objects(rows: QuerySet[Model], holder: str) -> defaultdict[int, dict[str, frozenset[str]]]:
    found: defaultdict[int, dict[str, frozenset[str]]] = defaultdict(dict)
    for pk, app, codename, object_pk in rows.values_list(f"{holder}_id", *_PERMISSION, "object_pk"):
        permission = f"{app}.{codename}"
        found[pk][permission] = found[pk].get(permission, frozenset()) | {object_pk}
    return found


USERS: Cached[int, UserGrants] = Cached(keys.USERS, UserGrants, _load_users)
ROLES: Cached[int, RoleGrants] = Cached(keys.ROLES, RoleGrants, _load_roles)


# --- Invalidating ---------------------------------------------------------------------------------
def connect_signals() -> None:
    """Invalidate the cache at each change of users, roles and what is granted to them."""
    _invalidate_rows(User, USERS, "pk")
    _invalidate_rows(UserObjectPermission, USERS, "user_id")
    _invalidate_rows(Group, ROLES, "pk")
    _invalidate_rows(RoleLimits, ROLES, "role_id")
    _invalidate_rows(GroupObjectPermission, ROLES, "group_id")
    _invalidate_links(User.groups.through, USERS, "user_id", "group_id")
    _invalidate_links(User.user_permissions.through, USERS, "user_id", "permission_id")
    _invalidate_links(Group.permissions.through, ROLES, "group_id", "permission_id")


def _invalidate_rows(model: type[Model], cached: Cached[int, V], key: str) -> None:
    """At each change of a row of `model`, invalidate the entry that its field `key` names."""

    def invalidate(sender: object, instance: Model, **kwargs: object) -> None:
        # Each login writes last_login, which grants nothing.
        if kwargs.get("update_fields") != frozenset({"last_login"}):
            cached.invalidate([getattr(instance, key)])

    # A proxy of the model sends signals of its own.
    for sender in {model, *_proxies(model)}:
        post_save.connect(invalidate, sender=sender, weak=False)
        post_delete.connect(invalidate, sender=sender, weak=False)


def _proxies(model: type[Model]) -> Iterable[type[Model]]:
    return [subclass for subclass in model.__subclasses__() if subclass._meta.proxy]  # noqa: SLF001


def _invalidate_links(
    through: type[Model], cached: Cached[int, V], holder: str, other: str
) -> None:
    """For changes of a many-to-many relation, invalidate the entries of its `holder` side."""

    def invalidate(
        sender: object,
        instance: Model,
        action: str,
        reverse: bool,
        pk_set: set[int] | None,
        **kwargs: object,
    ) -> None:
        if not reverse:
            cached.invalidate([instance.pk])
        elif pk_set is not None:
            cached.invalidate(pk_set)
        elif action == "pre_clear":
            manager = through._base_manager  # noqa: SLF001 - documented, for all its name
            cleared = manager.filter(**{other: instance.pk})
            cached.invalidate(cleared.values_list(holder, flat=True))

    m2m_changed.connect(invalidate, sender=through, weak=False)
