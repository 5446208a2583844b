"""Decimals are written in digits alone."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aily.rest.decimals import decimal_text

LONG = "123456789012345678901234567890.123456789012"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0E-12", "0"),
        ("3.00000E-7", "0.0000003"),
        ("0.001506504000", "0.001506504"),
        ("25.00", "25"),
        ("100", "100"),
        ("1E+3", "1000"),
        (LONG, LONG),
    ],
)
def test_a_decimal_is_a_text_of_digits(number: str, text: str) -> None:
    assert decimal_text(Decimal(number)) == text
