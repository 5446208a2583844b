"""Writes roles from names of permissions and objects, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Model
from guardian.models import GroupObjectPermission

from accounts.access.permissions import OBJECT_KINDS, ObjectKind, find_permissions
from accounts.models import Role, RoleLimits, User
from aily.problems import InvalidRequest

LIMITS = ("requests_per_minute", "max_tasks_in_flight", "max_tasks_queued")


def write_role(role: Role, fields: Mapping[str, Any]) -> Role:
    """Set the given ones of `name`, `permissions`, `objects` and `limits`, each as a whole.

    Raises InvalidRequest and Django's ValidationError; then nothing has changed.
    """
    with transaction.atomic():
        if "name" in fields:
            role.name = fields["name"]
            role.full_clean()
            role.save()
        if "permissions" in fields:
            _set_permissions(role, fields["permissions"])
        if "objects" in fields:
            _set_objects(role, fields["objects"])
        if "limits" in fields:
            RoleLimits.objects.update_or_create(role=role, defaults=fields["limits"])
    return role


def set_roles(user: User, role_ids: Sequence[int]) -> None:
    """Give `user` these roles and no others. Raises InvalidRequest."""
    roles = Role.objects.filter(pk__in=role_ids)
    if missing := set(role_ids) - {role.pk for role in roles}:
        params = {"rule": "no_such_role", "name": str(min(missing))}
        raise InvalidRequest(f"There is no role {min(missing)}.", field="roles", params=params)
    user.groups.set(roles)


def named_objects(granted: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return (permission, key) pairs by the names of the API. One query a kind of object."""
    wanted: defaultdict[ObjectKind, set[str]] = defaultdict(set)
    pairs = sorted(set(granted))
    for permission, pk in pairs:
        if permission in OBJECT_KINDS:
            wanted[OBJECT_KINDS[permission]].add(pk)
    names = {kind: kind.names(pks) for kind, pks in wanted.items()}
    return [
        {"permission": permission, "object": names[kind][pk]}
        for permission, pk in pairs
        if (kind := OBJECT_KINDS.get(permission)) and pk in names[kind]
    ]


def _set_permissions(role: Role, names: Sequence[str]) -> None:
    found = find_permissions(names)
    for index, name in enumerate(names):
        if name not in found:
            message = f"There is no permission {name!r}."
            params = {"rule": "no_such_permission", "name": repr(name)}
            raise InvalidRequest(message, field=f"permissions.{index}", params=params)
    role.permissions.set(found.values())


def _set_objects(role: Role, objects: Sequence[Mapping[str, str]]) -> None:
    permissions = find_permissions({grant["permission"] for grant in objects})
    found = [_find_object(index, grant) for index, grant in enumerate(objects)]
    wanted = {
        (permissions[grant["permission"]].pk, str(row.pk)): grant
        for grant, row in zip(objects, found, strict=True)
    }
    # One by one: signals invalidate the cache and write the audit log.
    for row in GroupObjectPermission.objects.filter(group=role):
        if wanted.pop((row.permission_id, row.object_pk), None) is None:
            row.delete()
    for (_, object_pk), grant in wanted.items():
        permission = permissions[grant["permission"]]
        GroupObjectPermission(
            group=role,
            permission=permission,
            content_type=permission.content_type,
            object_pk=object_pk,
        ).save()


def _find_object(index: int, grant: Mapping[str, str]) -> Model:
    kind = OBJECT_KINDS.get(grant["permission"])
    if kind is None:
        known = ", ".join(sorted(OBJECT_KINDS))
        raise InvalidRequest(
            f"This must be one of {known}.",
            field=f"objects.{index}.permission",
            params={"rule": "one_of", "values": known},
        )
    row = kind.find(grant["object"])
    if row is None:
        message = f"There is no {kind} {grant['object']!r}."
        params = {"rule": "no_such_one"}
        raise InvalidRequest(message, field=f"objects.{index}.object", params=params)
    return row
