"""What tests of queries ask: rows by filter and order, as the values of one field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.chat.tables.conftest import Grid


def query(grid: Grid, **body: Any) -> Any:
    answer = grid.send("post", "/rows:query", body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def condition(grid: Grid, name: str, op: str, value: Any = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"field": grid.key(name), "op": op, **more}
    return found if value is None else {**found, "value": value}


def found(grid: Grid, tree: dict[str, Any], shown: str = "Name") -> set[Any]:
    """The values of a field in the rows that a filter lets through."""
    rows = query(grid, filter=tree, limit=500)["items"]
    return {row["values"][grid.key(shown)] for row in rows}


def ordered(grid: Grid, *sorts: str, shown: str = "Name", **body: Any) -> list[Any]:
    """The values of a field in this order, read three rows at a time; `-` before a name: from the
    greatest down."""
    given = [
        {"field": grid.key(name.removeprefix("-")), "desc": name.startswith("-")} for name in sorts
    ]
    values: list[Any] = []
    cursor = None
    while True:
        page = query(grid, sorts=given, limit=3, cursor=cursor, **body)
        values += [row["values"][grid.key(shown)] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return values


def problem_of(answer: Any) -> tuple[int, str, list[str]]:
    """Status, code, and the fields that are to blame."""
    body = answer.json()
    fields = [error["field"] for error in body.get("errors", [])]
    return answer.status_code, body["code"], fields


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL about tables, their parts and their rows that the block sends.

    Without that of access: a user, a key and grants come from caches, which other tests and a
    minute's passing invalidate.
    """
    seen: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield seen
    sent = [query["sql"] for query in captured.captured_queries]
    seen += [sql for sql in sent if '"tables' in sql]
