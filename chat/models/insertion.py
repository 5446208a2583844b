"""Inserting many rows, that travel as one JSON value.

Django's bulk_create adapts every value of every row by itself, 35 a task: 0.2 ms CPU, against
0.03 ms here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from django.db import connection
from django.db.models import AutoField, Model
from django.utils import timezone

from chat.models.tasks import Task


def new_task(**given: Any) -> Task:
    """`Task(**given)` in a third of its time. Takes columns only: `model_id`, not `model`."""
    make: Callable[..., Task] = Task
    return make(*(given[name] if name in given else default() for name, default in _defaults()))


def insert_tasks(tasks: Sequence[Task]) -> None:
    """Insert new tasks, and set `created_at`. Raises IntegrityError as `bulk_create` does."""
    now = timezone.now()
    for task in tasks:
        task.created_at = now
    names = _columns(Task)
    insert(Task, [{name: getattr(task, name) for name in names} for task in tasks])


def insert(model: type[Model], rows: Sequence[Any]) -> None:
    """Insert rows that msgspec writes as objects with a value for every column.

    Keys that the database gives are neither among them nor read back.
    """
    if not rows:
        return
    with connection.cursor() as cursor:
        # Ids, times and amounts as text: that is how PostgreSQL takes them in.
        cursor.execute(_insertion(model), [msgspec.json.encode(rows, enc_hook=str).decode()])


@cache
def _defaults() -> list[tuple[str, Callable[[], Any]]]:
    """Of all columns, in their order."""
    return [(one.attname, one.get_default) for one in Task._meta.concrete_fields]  # noqa: SLF001


@cache
def _columns(model: type[Model]) -> list[str]:
    """The columns that are given; the attributes are called the same."""
    fields = model._meta.concrete_fields  # noqa: SLF001 - documented, for all its name
    return [one.attname for one in fields if not isinstance(one, AutoField)]


@cache
def _insertion(model: type[Model]) -> str:
    meta = model._meta  # noqa: SLF001 - see above
    names = ", ".join(f'"{name}"' for name in _columns(model))
    return (
        f"INSERT INTO {meta.db_table} ({names}) "  # noqa: S608 - names of our own
        f"SELECT {names} FROM json_populate_recordset(NULL::{meta.db_table}, %s)"
    )
