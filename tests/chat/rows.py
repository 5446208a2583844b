"""Rows by the ten thousand, so that PostgreSQL's planner chooses as it does on a large table."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Model


def multiply(row: Model, count: int, values: dict[str, str]) -> None:
    """Insert `count` copies of a saved row. `values`: SQL by column, of `n` from 1 on, and of `t`,
    the row itself.

    Foreign keys are not checked, which takes most of the time.
    """
    meta: Any = row._meta
    columns = [field.column for field in meta.concrete_fields if not field.generated]
    columns = [name for name in columns if name != meta.pk.column or name in values]
    names = ", ".join(f'"{name}"' for name in columns)
    chosen = ", ".join(values.get(name, f't."{name}"') for name in columns)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            f"INSERT INTO {meta.db_table} ({names}) SELECT {chosen}"  # noqa: S608 - names of ours
            f" FROM {meta.db_table} t, generate_series(1, {count}) n"
            f" WHERE t.{meta.pk.column} = '{row.pk}'"
        )
        cursor.execute("SET session_replication_role = origin")
        cursor.execute(f"VACUUM (ANALYZE) {meta.db_table}")
