"""Revisions: every transaction on a table ends by raising its `rev` and logging what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import transaction
from pydantic import JsonValue

from aily.database.rows import fetch_column
from aily.problems import NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import live
from chat.tables.exceptions import TableFull
from chat.tables.models import Change, ChangeKind, Table

_RAISE = """
UPDATE tables_table
   SET rev = rev + 1, schema_rev = schema_rev + %(schema)s, row_count = row_count + %(rows)s
 WHERE id = %(id)s AND deleted_at IS NULL AND (%(rows)s <= 0 OR row_count + %(rows)s <= %(limit)s)
RETURNING rev
"""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes a table, from which tab, and as a part of which import or run."""

    user_id: int | None
    client: str = ""
    batch: UUID | None = None


@dataclass(slots=True)
class Changed:
    """What a transaction has done to a table."""

    kind: ChangeKind = ChangeKind.ROWS
    row_ids: Sequence[int] = ()
    field_ids: Sequence[int] = ()
    #: Rows created less rows deleted.
    added: int = 0
    changes_schema: bool = False
    #: How many rows changed, where they are too many to be named.
    rows: int | None = None
    #: See Change.inverse; None: it is not undone by its inverse.
    inverse: dict[str, JsonValue] | None = field(default=None)


def record(table: Table, author: Author, done: Changed) -> int:
    """Raise the table's revision, log the change and announce it after the commit.

    The last statements of a transaction: from here on other writers of the table wait. Returns the
    revision. Raises TableFull, and NotFound if the table was deleted meanwhile.
    """
    parameters = {
        "id": table.pk,
        "rows": done.added,
        "limit": table.row_limit,
        "schema": int(done.changes_schema),
    }
    raised = fetch_column(int, _RAISE, parameters)
    if not raised:
        if Table.objects.live().filter(pk=table.pk).exists():
            raise because(TableFull, Reason.of("rows_full", limit=table.row_limit), field="rows")
        raise because(NotFound, Reason("no_such_table"))
    [rev] = raised
    Change.objects.create(
        table=table,
        rev=rev,
        user_id=author.user_id,
        client=author.client,
        kind=done.kind,
        batch=author.batch,
        rows=len(done.row_ids) if done.rows is None else done.rows,
        inverse=done.inverse,
    )
    announce = partial(live.changed, table.pk, rev, list(done.row_ids), list(done.field_ids))
    transaction.on_commit(announce, robust=True)
    return rev
