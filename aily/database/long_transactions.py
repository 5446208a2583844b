"""Statements over all rows of a table, which may take longer than others are allowed to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from aily.database.rows import execute

#: Seconds of one statement: a million rows of 200 fields.
SECONDS = 600.0


@contextmanager
def long_transaction() -> Iterator[None]:
    """A transaction whose statements have SECONDS each, instead of DATABASE_ANSWER_SECONDS."""
    connection.ensure_connection()
    driver = connection.connection
    if driver.answer_seconds is not None:
        # On this connection alone, which goes back to the pool with the bound of its class.
        driver.answer_seconds = SECONDS
    try:
        with transaction.atomic():
            execute("SELECT set_config('statement_timeout', %s, true)", [str(int(SECONDS * 1000))])
            yield
    finally:
        vars(driver).pop("answer_seconds", None)
