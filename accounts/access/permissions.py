"""Permission checks: all of them are made here, from the cached grants.

A permission is one of Django's, such as "chat.change_scene". It is granted to a role, or to a user,
on all objects or on a single one. On all objects it counts for staff only, as in the admin, unless
it is a permission to use something; on a single object it counts for every user.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.access.grants import ROLES, USERS, Grants
from accounts.models import User
from aily.problems import Forbidden


@dataclass(frozen=True, slots=True)
class PermissionSet:
    """All that is granted to an active user."""

    is_staff: bool
    is_superuser: bool
    #: The user's own, then those of the roles.
    grants: tuple[Grants, ...]
    roles: Mapping[int, str]

    def allows(self, permission: str, obj: Model | int | str | None = None) -> bool:
        """Return whether `permission` holds on `obj` (a row or its key) or on all objects."""
        if self.is_superuser:
            return True
        pk = None if obj is None else str(obj.pk if isinstance(obj, Model) else obj)
        if self.is_staff or _is_use(permission):
            return any(grants.allows(permission, pk) for grants in self.grants)
        return any(pk in grants.objects.get(permission, ()) for grants in self.grants)

    def everywhere(self) -> list[str]:
        """Return the permissions that hold on all objects."""
        names = {name for grants in self.grants for name in grants.permissions}
        return sorted(name for name in names if self.is_staff or _is_use(name))

    def objects(self, permission: str) -> set[str]:
        """Return the primary keys of the single objects that `permission` is granted on."""
        return {pk for grants in self.grants for pk in grants.objects.get(permission, ())}


_NOTHING = PermissionSet(is_staff=False, is_superuser=False, grants=(), roles={})


def _is_use(permission: str) -> bool:
    return permission.partition(".")[2].startswith("use_")


def permission_sets(user_ids: Collection[int]) -> dict[int, PermissionSet]:
    """Return what these users may do: nothing if they are not active. No query when cached."""
    users = USERS.get_many(user_ids)
    roles = ROLES.get_many({role for user in users.values() for role in user.roles})
    found = dict.fromkeys(user_ids, _NOTHING)
    for pk, user in users.items():
        if user.is_active:
            role_grants = {role: roles[role] for role in user.roles if role in roles}
            found[pk] = PermissionSet(
                user.is_staff,
                user.is_superuser,
                (user, *role_grants.values()),
                {role: grants.name for role, grants in role_grants.items()},
            )
    return found


def permissions_of(user: User) -> PermissionSet:
    return permission_sets([user.pk])[user.pk]


def may(user: User, permission: str, obj: Model | int | None = None) -> bool:
    """Return whether `user` has `permission`, on `obj` or on all objects. No query when cached."""
    return permissions_of(user).allows(permission, obj)


def require_permission(user: User, permission: str, obj: Model | int | None = None) -> None:
    """Raise Forbidden unless `user` has `permission`, on `obj` or on all objects."""
    if not may(user, permission, obj):
        params = {"rule": "permission", "permission": permission}
        raise Forbidden(f"This needs the permission {permission}.", params=params)


# --- Objects that permissions are granted on ----------------------------------------------------
@dataclass(frozen=True, slots=True)
class ObjectKind:
    """Rows of one model, for each of which these permissions may be granted."""

    model: type[Model]
    #: The field that names a row in the API.
    name_field: str

    def names(self, pks: Collection[str]) -> dict[str, str]:
        """Return the names of these rows in the API, by primary key."""
        found = self.rows().filter(pk__in=pks).values_list("pk", self.name_field)
        return {str(pk): str(name) for pk, name in found}

    def find(self, name: str) -> Model | None:
        try:
            return self.rows().filter(**{self.name_field: name}).first()
        except ValueError:  # a name where a number is asked for
            return None

    def rows(self) -> QuerySet[Model]:
        return self.model._default_manager.all()  # noqa: SLF001 - documented, for all its name

    def __str__(self) -> str:
        return str(self.model._meta.verbose_name)  # noqa: SLF001 - the same


#: By permission, as apps have registered them.
OBJECT_KINDS: dict[str, ObjectKind] = {}
#: Permissions that the owners of rows grant on them.
SHARED_BY_OWNERS: set[str] = set()


def register_objects(
    model: type[Model],
    name_field: str,
    codenames: Collection[str],
    *,
    is_shared_by_owners: bool = False,
) -> None:
    """Let permissions be granted on single rows of `model`. To be called in `AppConfig.ready`."""
    app = model._meta.app_label  # noqa: SLF001 - documented, for all its name
    names = [f"{app}.{codename}" for codename in codenames]
    OBJECT_KINDS.update(dict.fromkeys(names, ObjectKind(model, name_field)))
    if is_shared_by_owners:
        SHARED_BY_OWNERS.update(names)
    post_delete.connect(_drop_grants, sender=model, weak=False)


def _drop_grants(sender: type[Model], instance: Model, **kwargs: object) -> None:
    """Delete the grants on a row that was deleted: its primary key may be used again."""
    for granted in (GroupObjectPermission, UserObjectPermission):
        rows = granted.objects.filter(
            content_type=ContentType.objects.get_for_model(sender), object_pk=str(instance.pk)
        )
        for row in rows:  # one by one: signals invalidate the cache
            row.delete()


def permissions_on(model: type[Model]) -> set[str]:
    """Return the permissions that may be granted on single rows of `model`."""
    return {name for name, kind in OBJECT_KINDS.items() if kind.model is model}


def find_permissions(names: Collection[str]) -> dict[str, Permission]:
    """Return the rows of the permissions that exist, by name ("chat.use_scene")."""
    wanted = {name.partition(".")[2] for name in names}
    found = Permission.objects.select_related("content_type").filter(codename__in=wanted)
    by_name = {f"{row.content_type.app_label}.{row.codename}": row for row in found}
    return {name: row for name, row in by_name.items() if name in names}
