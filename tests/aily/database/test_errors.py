"""What a database error says: away, busy, or a statement that is refused."""

from __future__ import annotations

import psycopg
import pytest
from django.db import OperationalError

from tests.aily.problem_answers import answer_to, assert_problem


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("57P01", 503, "unavailable"),
        ("53300", 503, "unavailable"),
        ("54000", 500, "internal_server_error"),
        ("22P05", 500, "internal_server_error"),
    ],
)
def test_a_statement_that_is_refused_is_no_outage(state: str, status: int, code: str) -> None:
    """Otherwise clients would retry a request that is refused again."""
    error = OperationalError("as Django calls both")
    error.__cause__ = psycopg.errors.lookup(state)("refused")
    assert_problem(answer_to(error), status, code)
    assert_problem(answer_to(OperationalError("the connection is closed")), 503, "unavailable")
