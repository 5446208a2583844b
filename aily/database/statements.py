"""Statements whose rows are tuples: being replaced by aily/database/rows.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from aily.database.errors import (
    has_answered_since,
    is_answering,
    is_outage,
    is_pool_busy,
    may_be_refused,
)
from aily.database.threads import in_database, release_connections

__all__ = [
    "Question",
    "fetch_all",
    "fetch_each",
    "has_answered_since",
    "in_database",
    "is_answering",
    "is_outage",
    "is_pool_busy",
    "may_be_refused",
    "release_connections",
]


def fetch_all(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement that returns rows, and return them all. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


#: A statement and its parameters.
Question = tuple[str, Sequence[Any] | Mapping[str, Any]]


def fetch_each(*questions: Question) -> list[list[tuple[Any, ...]]]:
    """`fetch_all` for several statements in one round trip: that costs more than what they ask."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(cursor.mogrify(sql, params) for sql, params in questions))
        answers: list[list[tuple[Any, ...]]] = [cursor.fetchall()]
        while cursor.nextset():
            answers.append(cursor.fetchall())
    return answers
