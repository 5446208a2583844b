"""The vectors that answer tasks of the kind `embeddings`.

They have a table of their own, as they may be large and are kept for a shorter time than tasks. The
bytes are stored as they are, uncompressed (see the migration), so that a part of them can be read
without the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import psycopg
from django.db import connection, models
from django.db.models.functions import Now

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models.tasks import Task
from chat.vectors import Vectors

#: Results deleted in one transaction.
PAGE = 100


class TaskVectors(models.Model):
    """The vectors of one task: 32-bit floats, little-endian, one vector after the other."""

    task = models.OneToOneField(
        Task, primary_key=True, on_delete=models.CASCADE, related_name="vectors"
    )
    count = models.PositiveIntegerField()
    dimensions = models.PositiveIntegerField()
    floats = models.BinaryField()
    stored_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        verbose_name = "vectors of a task"
        verbose_name_plural = "vectors of tasks"

    def __str__(self) -> str:
        return str(self.pk)


class _Stored(Row, frozen=True):
    floats: bytes
    dimensions: int


class VectorsSize(Row, frozen=True):
    """How many vectors a task has, and how long each is."""

    count: int
    dimensions: int


_STORE = """
INSERT INTO chat_taskvectors (task_id, count, dimensions, floats)
VALUES (%(task_id)s, %(count)s, %(dimensions)s, %(floats)b) ON CONFLICT DO NOTHING
"""
_SIZE = "SELECT count, dimensions FROM chat_taskvectors WHERE task_id = %s"
_LOAD = "SELECT floats, dimensions FROM chat_taskvectors WHERE task_id = %s"
# `substring` counts from 1.
_READ = "SELECT substring(floats FROM %s + 1 FOR %s) FROM chat_taskvectors WHERE task_id = %s"
_DELETE = """
DELETE FROM chat_taskvectors
 WHERE task_id IN (SELECT task_id FROM chat_taskvectors WHERE stored_at < %(before)s
                    ORDER BY stored_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""


def store_vectors(results: Iterable[tuple[UUID, Vectors]]) -> None:
    """Insert the vectors of tasks, in the transaction that ends them."""
    for task_id, vectors in results:
        params = {
            "task_id": task_id,
            "count": vectors.count,
            "dimensions": vectors.dimensions,
            "floats": vectors.floats,
        }
        # Sent as they are. Django's cursor would write them into the statement, as hex digits.
        connection.ensure_connection()
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            cursor.execute(_STORE, params)


def size_of(task_id: UUID) -> VectorsSize | None:
    """How large a task's vectors are; None if there are none, or none any more."""
    rows = fetch_rows(VectorsSize, _SIZE, [task_id])
    return rows[0] if rows else None


def load_vectors(task_id: UUID) -> Vectors | None:
    """All of a task's vectors; None if there are none, or none any more."""
    rows = fetch_rows(_Stored, _LOAD, [task_id])
    return Vectors(rows[0].floats, rows[0].dimensions) if rows else None


def read_floats(task_id: UUID, first_byte: int, count: int) -> bytes:
    """`count` bytes of a task's vectors from `first_byte` on; empty if they are gone."""
    found = fetch_column(bytes, _READ, [first_byte, count, task_id])
    return found[0] if found else b""


def delete_older(before: datetime) -> int:
    """Delete vectors stored before that time, `PAGE` at most. Returns how many."""
    return execute(_DELETE, {"before": before, "limit": PAGE})
