"""Columns for money."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import models
from django.db.models.expressions import Combinable

if TYPE_CHECKING:
    DecimalField = models.DecimalField[Decimal | int | str | Combinable, Decimal]


def money_field() -> DecimalField:
    """An exact amount: a price has six decimals and is per million tokens."""
    return models.DecimalField(max_digits=24, decimal_places=12, default=0)


def price_field(help_text: str) -> DecimalField:
    """A price per million tokens."""
    return models.DecimalField(max_digits=12, decimal_places=6, help_text=help_text)
