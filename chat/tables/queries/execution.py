"""Runs statements that people wait for, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DataError, OperationalError, ProgrammingError, connection, transaction
from psycopg import sql
from psycopg.errors import QueryCanceled, UndefinedColumn, UndefinedTable

from aily.database.rows import execute, fetch_tuples
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.exceptions import QueryTimeout, TableBusy
from chat.tables.queries.statement import Statement

WORK_MEM = "32MB"
_BOUNDS = """
SELECT set_config('statement_timeout', %s, true), set_config('work_mem', %s, true)
"""


@contextmanager
def bounded_query() -> Iterator[None]:
    """A transaction that sees one state of the table, and whose statements are bounded.

    Raises QueryTimeout after TABLE_QUERY_SECONDS, TableBusy where a field was dropped in this
    moment, and InvalidRequest where values cannot be computed with.
    """
    try:
        with transaction.atomic():
            _bound()
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise QueryTimeout(settings.TABLE_QUERY_SECONDS) from None
        raise
    except ProgrammingError as error:
        if isinstance(error.__cause__, UndefinedColumn | UndefinedTable):
            raise TableBusy("The fields of the table are being changed.") from None
        raise
    except DataError as error:
        raise because(
            InvalidRequest, Reason.of("not_computed", detail=str(error).strip())
        ) from None


def _bound() -> None:
    """Set the bounds for this transaction, in one round trip."""
    # Of a transaction in another one the level is that of the other.
    level = "" if connection.savepoint_ids else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; "
    milliseconds = int(settings.TABLE_QUERY_SECONDS * 1000)
    execute(f"{level}{_BOUNDS}", [str(milliseconds), WORK_MEM])


def run(composed: sql.Composable, statement: Statement) -> list[tuple[Any, ...]]:
    """Run a statement with its parameters, and return all rows."""
    return fetch_tuples(composed.as_string(), statement.params)
