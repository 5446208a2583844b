"""Cells that a spreadsheet would take for a formula.

A file that one user fills and another opens may run commands there: OWASP, "CSV injection".
"""

from __future__ import annotations

import re

#: Beginnings of a formula, also in full width. PostgreSQL reads the same patterns (exports/sql.py).
FORMULA = "^[=+@\t\r\n\uff1d\uff0b\uff20\uff0d-]"
NUMBER = r"^[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?$"
_formula, _number = re.compile(FORMULA), re.compile(NUMBER)


def defused(cell: str) -> str:
    """The cell, with an apostrophe before it if it would be a formula."""
    return f"'{cell}" if _formula.match(cell) and not _number.match(cell) else cell
