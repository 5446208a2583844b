"""A transaction whose statements may take longer than those of others."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection

from aily.database.backend.connection import BoundedConnection
from aily.database.long_transactions import long_transaction
from aily.database.rows import execute, fetch_column

pytestmark = pytest.mark.django_db(transaction=True)


def test_its_statements_have_longer_and_those_that_follow_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.ensure_connection()
    monkeypatch.setattr(BoundedConnection, "answer_seconds", 1.5)
    with long_transaction():
        execute("SELECT pg_sleep(2)")
        assert fetch_column(str, "SHOW statement_timeout") == ["10min"]
    with pytest.raises(OperationalError, match="no answer"):
        execute("SELECT pg_sleep(60)")
    connection.close()
