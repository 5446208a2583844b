"""Rows of SQL statements are read by name, through aily/database/rows.py."""

from __future__ import annotations

import re

from aily.launcher.programs import BASE_DIR

#: Where a driver's tuples are read: rows are built of them; a server that Django does not know.
_READERS = {
    "aily/database/rows.py",
    "aily/database/replica.py",
    "aily/embedded/postgres.py",
}
_READING = re.compile(r"\.(fetchall|fetchone|fetchmany)\(")


def test_tuples_of_the_driver_are_read_in_one_place() -> None:
    found = {
        str(path.relative_to(BASE_DIR))
        for package in ("aily", "accounts", "chat")
        for path in (BASE_DIR / package).rglob("*.py")
        if "migrations" not in path.parts and _READING.search(path.read_text())
    }
    assert found == _READERS
