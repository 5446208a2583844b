"""Inserting many rows, that travel as one JSON value.

Django's bulk_create adapts every value of every row by itself, 35 a task: 0.2 ms CPU, against
0.03 ms here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec
from django.db import connection
from django.db.models import AutoField, Model
from django.utils import timezone

from chat.models.tasks import Task


def insert_tasks(tasks: Sequence[Task]) -> None:
    """Insert new tasks, and set `created_at`. Raises IntegrityError as `bulk_create` does."""
    now = timezone.now()
    for task in tasks:
        task.created_at = now
    insert(tasks)


def insert(rows: Sequence[Model]) -> None:
    """Insert rows of one model as they are. Keys that the database gives are not read back."""
    if not rows:
        return
    columns, sql = _insertion(type(rows[0]))
    values = [{column: getattr(row, name) for name, column in columns} for row in rows]
    with connection.cursor() as cursor:
        # Ids, times and amounts as text: that is how PostgreSQL takes them in.
        cursor.execute(sql, [msgspec.json.encode(values, enc_hook=str).decode()])


@cache
def _insertion(model: type[Model]) -> tuple[list[tuple[str, str]], str]:
    """(attribute, column) of all fields that are given, and the statement."""
    meta = model._meta  # noqa: SLF001 - documented, for all its name
    given = [one for one in meta.concrete_fields if not isinstance(one, AutoField)]
    columns = [(one.attname, str(one.column)) for one in given]
    names = ", ".join(f'"{column}"' for _, column in columns)
    sql = (
        f"INSERT INTO {meta.db_table} ({names}) "  # noqa: S608 - names of our own
        f"SELECT {names} FROM json_populate_recordset(NULL::{meta.db_table}, %s)"
    )
    return columns, sql
