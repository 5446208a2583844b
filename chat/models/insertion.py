"""Inserting tasks: all rows of a batch travel as one JSON value.

Django's bulk_create adapts every value of every row by itself, 35 a task: 0.2 ms CPU, against
0.03 ms here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

from django.db import connection
from django.utils import timezone

from chat.models.tasks import Task


def insert_tasks(tasks: Sequence[Task]) -> None:
    """Insert new tasks, and set `created_at`. Raises IntegrityError as `bulk_create` does."""
    if not tasks:
        return
    columns, sql = _insertion()
    now = timezone.now()
    for task in tasks:
        task.created_at = now
    rows = [{column: getattr(task, name) for name, column in columns} for task in tasks]
    with connection.cursor() as cursor:
        # Ids and times as text: that is how PostgreSQL takes them in.
        cursor.execute(sql, [json.dumps(rows, default=str)])


@cache
def _insertion() -> tuple[list[tuple[str, str]], str]:
    """(attribute, column) of all fields, and the statement."""
    columns = [(one.attname, str(one.column)) for one in Task._meta.concrete_fields]  # noqa: SLF001
    names = ", ".join(f'"{column}"' for _, column in columns)
    sql = (
        f"INSERT INTO chat_task ({names}) "  # noqa: S608 - names of our own columns
        f"SELECT {names} FROM json_populate_recordset(NULL::chat_task, %s)"
    )
    return columns, sql
