"""Writing the row of a request: assigned, checked by the model, saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from django.db.models import Model

AnyModel = TypeVar("AnyModel", bound=Model)


def assign(row: Model, fields: Mapping[str, object]) -> None:
    """Set and check the fields of a row, and do not save it. Raises Django's ValidationError."""
    for name, value in fields.items():
        setattr(row, name, value)
    row.full_clean()


def add(row: AnyModel) -> AnyModel:
    """Check and insert a new row. Raises Django's ValidationError."""
    row.full_clean()
    row.save(force_insert=True)
    return row


def change(row: Model, fields: Mapping[str, object], *touched: str) -> None:
    """Set, check and save these fields alone, and those `touched` that saving sets by itself.

    Raises Django's ValidationError.
    """
    assign(row, fields)
    row.save(update_fields=[*fields, *touched])
