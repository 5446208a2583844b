"""What is granted to users and to roles, as the cache holds it, and what makes it forget.

A role is a document of its own, so that changing one forgets one key, however many users have it.
Rows written past Django's signals (`QuerySet.update`, `bulk_create`) are seen within minutes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.models import RoleLimits, User
from aily.cache import Cached, keys


class Grants(msgspec.Struct, frozen=True):
    """Permissions, such as "chat.use_scene": on all objects, and on some by primary key."""

    permissions: frozenset[str] = frozenset()
    objects: dict[str, frozenset[str]] = {}

    def allows(self, permission: str, pk: str | None) -> bool:
        return permission in self.permissions or pk in self.objects.get(permission, ())


#: Requests a minute, tasks in flight, tasks queued, as staff set them. None: not set.
LimitOverrides = tuple[int | None, int | None, int | None]


class UserGrants(Grants, frozen=True):
    """A user: who it is, which roles it has, and what is granted to it beyond those."""

    username: str = ""
    is_active: bool = False
    is_staff: bool = False
    is_superuser: bool = False
    has_totp: bool = False
    roles: tuple[int, ...] = ()
    #: What each of their sessions has to hold, and holds: it changes with password and TOTP.
    session_hash: str = ""
    limits: LimitOverrides = (None, None, None)


class RoleGrants(Grants, frozen=True):
    name: str = ""
    limits: LimitOverrides = (None, None, None)


# --- Loading ------------------------------------------------------------------------------------
_OF_THE_ROW = ("username", "is_active", "is_staff", "is_superuser", "has_totp")


def _load_users(ids: Collection[int]) -> dict[int, UserGrants]:
    roles = _grouped(User.groups.through.objects.filter(user__in=ids), "user_id", "group_id")
    permissions = _permissions(User.user_permissions.through.objects.filter(user__in=ids), "user")
    objects = _objects(UserObjectPermission.objects.filter(user__in=ids), "user")
    return {
        user.pk: UserGrants(
            permissions[user.pk],
            objects[user.pk],
            **{name: getattr(user, name) for name in _OF_THE_ROW},
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
    limits = {one.role_id: _limits(one) for one in RoleLimits.objects.filter(role__in=ids)}
    nothing = (None, None, None)
    return {
        pk: RoleGrants(permissions[pk], objects[pk], name, limits.get(pk, nothing))
        for pk, name in names
    }


def _limits(row: User | RoleLimits) -> LimitOverrides:
    return row.requests_per_minute, row.max_tasks_in_flight, row.max_tasks_queued


def _grouped(rows: QuerySet[Any], by: str, value: str) -> defaultdict[int, list[Any]]:
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for pk, one in rows.values_list(by, value):
        found[pk].append(one)
    return found


_PERMISSION = ("permission__content_type__app_label", "permission__codename")


def _permissions(rows: QuerySet[Any], holder: str) -> defaultdict[int, frozenset[str]]:
    found: defaultdict[int, frozenset[str]] = defaultdict(frozenset)
    for pk, app, codename in rows.values_list(f"{holder}_id", *_PERMISSION):
        found[pk] |= {f"{app}.{codename}"}
    return found


def _objects(rows: QuerySet[Any], holder: str) -> defaultdict[int, dict[str, frozenset[str]]]:
    found: defaultdict[int, dict[str, frozenset[str]]] = defaultdict(dict)
    for pk, app, codename, object_pk in rows.values_list(f"{holder}_id", *_PERMISSION, "object_pk"):
        permission = f"{app}.{codename}"
        found[pk][permission] = found[pk].get(permission, frozenset()) | {object_pk}
    return found


USERS: Cached[int, UserGrants] = Cached(keys.USERS, UserGrants, _load_users)
ROLES: Cached[int, RoleGrants] = Cached(keys.ROLES, RoleGrants, _load_roles)


# --- Forgetting ---------------------------------------------------------------------------------
def connect_signals() -> None:
    """Have every change of users, roles and what is granted to them forget what is cached."""
    _forget_rows(User, USERS, lambda user: user.pk)
    _forget_rows(UserObjectPermission, USERS, lambda granted: granted.user_id)
    _forget_rows(Group, ROLES, lambda group: group.pk)
    _forget_rows(RoleLimits, ROLES, lambda limits: limits.role_id)
    _forget_rows(GroupObjectPermission, ROLES, lambda granted: granted.group_id)
    _forget_links(User.groups.through, USERS, "user_id", "group_id")
    _forget_links(User.user_permissions.through, USERS, "user_id", "permission_id")
    _forget_links(Group.permissions.through, ROLES, "group_id", "permission_id")


def _forget_rows(model: Any, cached: Cached[int, Any], key: Callable[[Any], int]) -> None:
    def forget(sender: Any, instance: Model, **kwargs: Any) -> None:
        # Each log-in writes this, and it grants nothing.
        if kwargs.get("update_fields") != frozenset({"last_login"}):
            cached.invalidate([key(instance)])

    # A proxy of the model sends signals of its own.
    for sender in {model, *_proxies(model)}:
        post_save.connect(forget, sender=sender, weak=False)
        post_delete.connect(forget, sender=sender, weak=False)


def _proxies(model: type[Model]) -> Iterable[type[Model]]:
    return [one for one in model.__subclasses__() if one._meta.proxy]  # noqa: SLF001


def _forget_links(through: Any, cached: Cached[int, Any], holder: str, other: str) -> None:
    """Of a many-to-many relation whose `holder` side the cache is about."""

    def forget(
        sender: Any, instance: Model, action: str, reverse: bool, pk_set: Any, **kwargs: Any
    ) -> None:
        if not reverse:
            cached.invalidate([instance.pk])
        elif pk_set is not None:
            cached.invalidate(pk_set)
        elif action == "pre_clear":
            cleared = through.objects.filter(**{other: instance.pk})
            cached.invalidate(cleared.values_list(holder, flat=True))

    m2m_changed.connect(forget, sender=through, weak=False)
