"""Sharing a table: what its owner grants on it to other users and to roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.delegation import without_actor
from accounts.models import User
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.models import Table
from chat.tables.permissions import Access

MAX_SHARES = 200
#: What can be shared: not the right to delete the table.
SHARED = (Access.READ, Access.REVIEW, Access.RUN, Access.EDIT)

_CODENAMES = {access: access.value.partition(".")[2] for access in SHARED}
_BY_CODENAME = {codename: access for access, codename in _CODENAMES.items()}


@dataclass(frozen=True, slots=True)
class Share:
    """A user or a role, by name, and what is granted to it."""

    access: Sequence[str]
    user: str | None = None
    role: str | None = None


def shares(table: Table) -> list[Share]:
    """Return what is granted on a table, by the name of the holder. Two queries."""
    users: defaultdict[str, set[Access]] = defaultdict(set)
    roles: defaultdict[str, set[Access]] = defaultdict(set)
    for name, codename in _granted(UserObjectPermission, table, "user__username"):
        users[name].add(_BY_CODENAME[codename])
    for name, codename in _granted(GroupObjectPermission, table, "group__name"):
        roles[name].add(_BY_CODENAME[codename])
    return [
        *(Share(_names(users[name]), user=name) for name in sorted(users)),
        *(Share(_names(roles[name]), role=name) for name in sorted(roles)),
    ]


def _granted(
    model: type[UserObjectPermission | GroupObjectPermission], table: Table, holder: str
) -> list[tuple[str, str]]:
    rows = model.objects.filter(
        content_type=ContentType.objects.get_for_model(Table),
        object_pk=str(table.pk),
        permission__codename__in=_BY_CODENAME,
    )
    return list(rows.values_list(holder, "permission__codename"))


def _names(accesses: set[Access]) -> list[str]:
    return [access.name.lower() for access in SHARED if access in accesses]


def set_shares(table: Table, wanted: Sequence[Share]) -> None:
    """Grant exactly this on a table. Raises InvalidRequest; then nothing has changed."""
    users = _holders(wanted, "user", User.objects, "username")
    roles = _holders(wanted, "role", Group.objects, "name")
    # The owner grants this, whatever the rules of delegation say of users: see `require_access`.
    with transaction.atomic(), without_actor():
        Table.objects.select_for_update(no_key=True).get(pk=table.pk)
        permissions = {
            row.codename: row
            for row in Permission.objects.filter(
                content_type=ContentType.objects.get_for_model(Table), codename__in=_BY_CODENAME
            )
        }
        by_user = {users[share.user]: share for share in wanted if share.user is not None}
        by_role = {roles[share.role]: share for share in wanted if share.role is not None}
        _replace(UserObjectPermission, "user", table, by_user, permissions)
        _replace(GroupObjectPermission, "group", table, by_role, permissions)


def _holders(wanted: Sequence[Share], kind: str, rows: object, name_field: str) -> dict[str, int]:
    """The primary keys of users or roles by their names. Raises InvalidRequest."""
    names = {name for share in wanted if (name := getattr(share, kind)) is not None}
    found = dict(
        rows.filter(**{f"{name_field}__in": names}).values_list(name_field, "pk")  # type: ignore[attr-defined]
    )
    for index, share in enumerate(wanted):
        name = getattr(share, kind)
        if name is not None and name not in found:
            reason = Reason.of(f"no_such_{kind}", name=repr(name))
            raise because(InvalidRequest, reason, field=f"shares.{index}.{kind}")
    return found


def _replace(
    model: type[UserObjectPermission | GroupObjectPermission],
    holder: str,
    table: Table,
    wanted: dict[int, Share],
    permissions: dict[str, Permission],
) -> None:
    missing = {
        (pk, _CODENAMES[Access[name.upper()]])
        for pk, share in wanted.items()
        for name in share.access
    }
    content_type = ContentType.objects.get_for_model(Table)
    present = model.objects.filter(
        content_type=content_type, object_pk=str(table.pk), permission__codename__in=_BY_CODENAME
    )
    # One by one: signals invalidate the cache of grants and write the audit log.
    for row in present.select_related("permission"):
        granted = getattr(row, f"{holder}_id"), row.permission.codename
        if granted in missing:
            missing.discard(granted)
        else:
            row.delete()
    for pk, codename in sorted(missing):
        model(
            **{f"{holder}_id": pk},
            permission=permissions[codename],
            content_type=content_type,
            object_pk=str(table.pk),
        ).save()
