"""Rows that the fields of a request name."""

from __future__ import annotations

from typing import TypeVar

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason

R = TypeVar("R")

NO_SUCH_ONE = Reason("no_such_one")


def referenced(row: R | None, field: str, missing: Reason = NO_SUCH_ONE) -> R:
    """The row. Raises InvalidRequest, which names the field, where there is none."""
    if row is None:
        raise because(InvalidRequest, missing, field=field)
    return row
