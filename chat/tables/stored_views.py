"""Views of tables: who sees them, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import User
from aily.problems import Forbidden, InvalidRequest, NotFound
from aily.rest.json_input import exceeds
from aily.rest.writes import add, change
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.exceptions import TableFull
from chat.tables.fields import live_fields
from chat.tables.models import Table, View
from chat.tables.permissions import Access, has_access, require_access
from chat.tables.queries.catalogue import operands_of
from chat.tables.view_queries import ViewParts, check_layout, compile_parts

#: Views of one table, of all its users.
MAX_VIEWS = 500
MAX_FILTER_BYTES = 65_536
#: What decides about rows; a change of the others needs no check of the fields' kinds.
_QUERY = ("filter", "sorts", "groups", "aggregates", "collation")


def visible_views(user: User, table: Table) -> QuerySet[View]:
    """A user's own views of a table, and those that are shared with all of its readers."""
    views = View.objects.filter(Q(owner=user) | Q(is_shared=True), table=table)
    return views.select_related("owner").order_by("position", "id")


def find_view(user: User, view_id: int) -> View:
    """A view that the user sees. Raises NotFound."""
    view = View.objects.select_related("table", "owner").filter(pk=view_id).first()
    missing = because(NotFound, Reason("no_such_view"))
    if view is None or view.table.deleted_at is not None:
        raise missing
    require_access(user, view.table, Access.READ, missing)
    if view.owner_id != user.pk and not view.is_shared:
        raise missing
    return view


def may_change(user: User, view: View) -> bool:
    """Own views are one's own; shared ones belong to those who may edit the table."""
    if view.is_shared:
        return has_access(user, view.table, Access.EDIT)
    return view.owner_id == user.pk


def require_change(user: User, view: View) -> None:
    if not may_change(user, view):
        raise because(Forbidden, Reason("shared_view"))


def create_view(user: User, table: Table, given: Mapping[str, object]) -> View:
    """Store a new view. Raises InvalidRequest, TableFull and Forbidden."""
    view = View(table=table, owner=user, **given)
    _check(user, view, given)
    with transaction.atomic():
        # One at a time, or two requests would both see room for the last one.
        Table.objects.select_for_update(no_key=True).get(pk=table.pk)
        if View.objects.filter(table=table).count() >= MAX_VIEWS:
            raise because(TableFull, Reason.of("views_full", limit=MAX_VIEWS))
        return add(view)


def change_view(user: User, view: View, given: Mapping[str, object]) -> View:
    """Change these parts of a view. Raises InvalidRequest and Forbidden."""
    require_change(user, view)
    for name, value in given.items():
        setattr(view, name, value)
    _check(user, view, given)
    change(view, given, "updated_at")
    return view


def _check(user: User, view: View, given: Mapping[str, object]) -> None:
    if view.is_shared:
        require_access(user, view.table, Access.EDIT)
    if not str(view.name).strip():
        raise because(InvalidRequest, Reason("unnamed_view"), field="name")
    for name in ("filter", "sorts", "groups", "aggregates"):
        if exceeds(getattr(view, name), MAX_FILTER_BYTES):
            raise because(
                InvalidRequest, Reason.of("too_many_bytes", limit=MAX_FILTER_BYTES), field=name
            )
    operands = operands_of(live_fields(view.table_id), user)
    # Parts that are not given may name fields that have been deleted since.
    parts = {name: given[name] for name in _QUERY if name in given}
    compile_parts(view.table_id, operands, ViewParts(**cast("dict[str, str]", parts)))
    check_layout(
        operands,
        cast("list[str]", given.get("hidden", [])),
        cast("list[str]", given.get("order", [])),
        cast("Mapping[str, int]", given.get("widths", {})),
    )
