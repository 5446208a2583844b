"""What of a run's inputs a reader of the table may see: not the texts of tables that are closed to
them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from accounts.models import User
from chat.tables.models import Field, Kind
from chat.tables.permissions import visible_tables


def hidden_inputs(user: User, table_id: int) -> frozenset[str]:
    """The keys of the table's links, deleted ones included, to tables that `user` may not read.

    Two queries; one without links.
    """
    links = {
        field.key: int(field.options.get("table") or 0)
        for field in Field.objects.filter(table=table_id, kind=Kind.LINK)
    }
    if not links:
        return frozenset()
    readable = set(visible_tables(user).filter(pk__in=links.values()).values_list("pk", flat=True))
    return frozenset(key for key, target in links.items() if target not in readable)


def shown_inputs(
    inputs: Mapping[str, Any] | None, hidden: Collection[str]
) -> dict[str, Any] | None:
    """The inputs of a row without those that are hidden; None stays None."""
    if inputs is None:
        return None
    return {key: value for key, value in inputs.items() if key not in hidden}
