"""Rows that the fields of a request name."""

from __future__ import annotations

from typing import TypeVar

from aily.problems import InvalidRequest

R = TypeVar("R")


def referenced(row: R | None, field: str, message: str = "There is no such one.") -> R:
    """The row. Raises InvalidRequest, which names the field, where there is none."""
    if row is None:
        raise InvalidRequest(message, field=field)
    return row
