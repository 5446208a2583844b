"""Links: pairs of a row and a row of another table, in a table for each link field."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import cast

import msgspec

from accounts.models import User
from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.tables.models import Field, Table
from chat.tables.names import links_table, rows_table, statement
from chat.tables.permissions import Access, has_access

# Rows that were deleted stay in the pairs, and come back with them when that is undone.
_READ = """
SELECT link.row_id, link.other_id FROM {links} AS link
  JOIN {others} AS other ON other.id = link.other_id
 WHERE link.row_id = ANY(%s) ORDER BY link.row_id, link.pos
"""
_DELETE = "DELETE FROM {links} WHERE row_id = ANY(%s)"
_INSERT = """
INSERT INTO {links} (row_id, other_id, pos)
SELECT row_id, other_id, pos
  FROM json_to_recordset(%s::json) AS pair(row_id bigint, other_id bigint, pos integer)
"""


class _Pair(Row, frozen=True):
    row_id: int
    other_id: int


def target(field: Field) -> int:
    """The id of the table that a link field links to."""
    return cast("int", field.options["table"])


def live_targets(fields: Collection[Field]) -> set[int]:
    """Return the ids of the tables that these fields link to and that still exist. One query."""
    wanted = {target(field) for field in fields}
    return (
        set(Table.objects.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()
    )


def read_links(
    fields: Collection[Field], row_ids: Collection[int]
) -> dict[int, dict[int, list[int]]]:
    """The linked rows by field and row, in their order. A query a field, however many rows."""
    present = live_targets(fields)
    found: dict[int, dict[int, list[int]]] = {}
    for field in fields:
        by_row: defaultdict[int, list[int]] = defaultdict(list)
        if target(field) in present and row_ids:
            read = statement(_READ, links=links_table(field.pk), others=rows_table(target(field)))
            for pair in fetch_rows(_Pair, read, [list(row_ids)]):
                by_row[pair.row_id].append(pair.other_id)
        found[field.pk] = dict(by_row)
    return found


def missing_rows(field: Field, ids: Collection[int], tables: Mapping[int, Table]) -> set[int]:
    """Return the ids that no row of the linked table has. `tables`: what `linked_tables` found."""
    if target(field) not in tables or not ids:
        return set(ids)
    find = statement("SELECT id FROM {table} WHERE id = ANY(%s)", table=rows_table(target(field)))
    return set(ids) - set(fetch_column(int, find, [list(ids)]))


def linked_tables(fields: Collection[Field]) -> dict[int, Table]:
    """Return the tables that these fields link to and that still exist, by their ids. One query."""
    wanted = {target(field) for field in fields}
    return Table.objects.in_bulk(wanted) if wanted else {}


def hidden_fields(
    fields: Collection[Field], user_id: int | None, tables: Mapping[int, Table]
) -> set[int]:
    """Return the ids of those fields that link to a table which the user may not read: none for the
    program itself, without a user. No query when grants are cached."""
    if user_id is None:
        return set()
    reader = User(pk=user_id)
    readable = {pk for pk, table in tables.items() if has_access(reader, table, Access.READ)}
    return {field.pk for field in fields if target(field) not in readable}


def write_links(field: Field, cells: Mapping[int, list[int] | None]) -> None:
    """Give each of these rows these links in place of those it has. Two statements."""
    links = links_table(field.pk)
    execute(statement(_DELETE, links=links), [list(cells)])
    pairs = [
        {"row_id": row_id, "other_id": other_id, "pos": pos}
        for row_id, others in cells.items()
        for pos, other_id in enumerate(others or ())
    ]
    if pairs:
        execute(statement(_INSERT, links=links), [msgspec.json.encode(pairs).decode()])
