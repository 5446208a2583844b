"""Decimals as texts."""

from __future__ import annotations

from decimal import Decimal


def decimal_text(number: Decimal) -> str:
    """The number in digits alone: Python writes a small one, and a zero of a column, as `0E-12`."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
