"""Compares the catalogue of tables with what PostgreSQL has."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from psycopg import sql

from aily.database.rows import Row, fetch_rows
from chat.tables import ddl
from chat.tables.conversion import pending_field
from chat.tables.models import AiField, Field, Import, Kind, Table, TransferState
from chat.tables.names import SCHEMA

_COLUMNS = """
SELECT class.relname AS "table", attribute.attname AS "column",
       format_type(attribute.atttypid, attribute.atttypmod) AS type
  FROM pg_class AS class
  LEFT JOIN pg_attribute AS attribute
    ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
 WHERE class.relkind = 'r' AND class.relnamespace = to_regnamespace(%s)
 ORDER BY class.relname, attribute.attnum
"""
#: As PostgreSQL names the types of `ddl.COLUMN_TYPES`.
_SAME_TYPES = {"timestamptz": "timestamp with time zone"}


@dataclass(frozen=True, slots=True)
class Difference:
    """`missing` can be made, empty; `unknown` can be dropped; another type is for people."""

    kind: Literal["missing", "unknown", "type"]
    table: str
    column: str = ""
    field: Field | None = None
    message: str = ""

    def __str__(self) -> str:
        return self.message or f"{self.kind}: {SCHEMA}.{self.table} {self.column}".rstrip()


class _Column(Row, frozen=True):
    table: str
    column: str | None
    type: str | None


def differences() -> list[Difference]:
    """Return what the catalogue and PostgreSQL do not agree on. Five queries."""
    present: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in fetch_rows(_Column, _COLUMNS, [SCHEMA]):
        present[row.table][row.column or ""] = row.type or ""
    fields: defaultdict[int, list[Field]] = defaultdict(list)
    for field in Field.objects.all():
        fields[field.table_id].append(field)
    tables = list(Table.objects.values_list("pk", flat=True))
    found: list[Difference] = []
    for table_id in tables:
        found += _of_table(table_id, fields[table_id], present)
    known = {f"t{pk}" for pk in tables}
    known |= {f"l{field.pk}" for some in fields.values() for field in some}
    known |= {f"a{pk}" for pk in AiField.objects.values_list("pk", flat=True)}
    # What imports have beside their tables is purged with them (chat/tables/transfers).
    imports = Import.objects.filter(state__in=[TransferState.RUNNING, TransferState.DONE])
    known |= {f"{letter}{pk.hex}" for pk in imports.values_list("pk", flat=True) for letter in "iu"}
    found += [Difference("unknown", name) for name in present.keys() - known]
    return found


def _of_table(
    table_id: int, fields: list[Field], present: dict[str, dict[str, str]]
) -> list[Difference]:
    name = f"t{table_id}"
    found = [
        Difference("missing", f"l{field.pk}", field=field)
        for field in fields
        if field.kind == Kind.LINK and f"l{field.pk}" not in present
    ]
    if name not in present:
        return [Difference("missing", name), *found]
    stored = [field for field in fields if field.is_stored]
    pending = [after for field in fields if (after := pending_field(field)) is not None]
    for field in [*stored, *pending]:
        wanted = ddl.COLUMN_TYPES[Kind(field.kind)]
        actual = present[name].get(field.column)
        if actual is None:
            found.append(Difference("missing", name, field.column, field))
        elif actual != _SAME_TYPES.get(wanted, wanted):
            message = f"type: {SCHEMA}.{name} {field.column} is {actual}, not {wanted}"
            found.append(Difference("type", name, field.column, field, message))
    return found


def repair(difference: Difference) -> bool:
    """Make what is missing, empty. Returns False for what only people can decide."""
    if difference.kind != "missing":
        return False
    with transaction.atomic():
        ddl.bound_waits()
        field = difference.field
        if field is not None and field.kind == Kind.LINK:
            ddl.create_links_table(field)
        elif field is not None:
            ddl.add_column(field.table_id, difference.column, field.kind)
        else:
            table = Table.objects.get(pk=int(difference.table[1:]))
            stored = [row for row in Field.objects.filter(table=table) if row.is_stored]
            ddl.create_rows_table(table, stored)
    return True


def drop(difference: Difference) -> bool:
    """Drop a table that no row of the catalogue names. Returns False for other differences."""
    if difference.kind != "unknown":
        return False
    with transaction.atomic():
        ddl.bound_waits()
        ddl.drop_table(sql.Identifier(SCHEMA, difference.table))
    return True
