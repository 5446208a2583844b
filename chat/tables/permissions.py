"""What a user may do with a table: all with one's own, and what is granted on it by another's.

Access is granted as everything else is: to users and roles, by permissions on the object.
"""

from __future__ import annotations

from enum import Enum

from django.db.models import Q, QuerySet

from accounts.access.permissions import PermissionSet, permissions_of
from accounts.models import User
from aily.problems import Forbidden, NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.models import Table


class Access(Enum):
    """What can be granted on a table, by the permission for it."""

    READ = "tables.view_table"
    REVIEW = "tables.review_table"
    RUN = "tables.run_table"
    EDIT = "tables.change_table"
    #: What only the owner has, besides those who may delete all tables.
    OWN = "tables.delete_table"


#: By what is asked for: the grants that contain it.
_GIVEN_BY = {
    Access.READ: tuple(Access),
    Access.REVIEW: (Access.REVIEW, Access.RUN, Access.EDIT, Access.OWN),
    Access.RUN: (Access.RUN, Access.OWN),
    Access.EDIT: (Access.EDIT, Access.OWN),
    Access.OWN: (Access.OWN,),
}

#: Codenames of the permissions that may be granted on single tables.
PERMISSIONS = [access.value.partition(".")[2] for access in Access]


def has_access(user: User, table: Table, access: Access, held: PermissionSet | None = None) -> bool:
    """Return whether `user` has this access to the table. No query when grants are cached."""
    if table.owner_id == user.pk:
        return True
    held = held or permissions_of(user)
    return any(held.allows(granted.value, table.pk) for granted in _GIVEN_BY[access])


def accesses(user: User, table: Table, held: PermissionSet | None = None) -> list[str]:
    """Return the names of what `user` may do with the table, in lower case."""
    held = held or permissions_of(user)
    return [access.name.lower() for access in Access if has_access(user, table, access, held)]


def visible_tables(user: User) -> QuerySet[Table]:
    """Return the tables that a user may read, those in the trash included."""
    held = permissions_of(user)
    tables: QuerySet[Table] = Table.objects.all()
    if any(held.allows(access.value) for access in Access):
        return tables
    granted = set().union(*(held.objects(access.value) for access in Access))
    return tables.filter(Q(owner=user) | Q(pk__in=granted))


def require_access(
    user: User, table: Table, access: Access, missing: NotFound | None = None
) -> None:
    """Raise Forbidden without this access, NotFound for users who may not even read the table.

    `missing`: what is raised if the object of the table is not there. Users who may not read the
    table get the same, or they would learn that it is.
    """
    held = permissions_of(user)
    if has_access(user, table, access, held):
        return
    if not has_access(user, table, Access.READ, held):
        raise missing or _no_table()
    raise because(Forbidden, Reason.of("table_permission", permission=access.value))


def _no_table() -> NotFound:
    return because(NotFound, Reason("no_such_table"))


def get_table(user: User, table_id: int, access: Access = Access.READ) -> Table:
    """Return a table that is not in the trash. Raises NotFound and Forbidden."""
    table: Table | None = Table.objects.live().filter(pk=table_id).first()
    if table is None:
        raise _no_table()
    require_access(user, table, access)
    return table
