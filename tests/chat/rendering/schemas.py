"""Schemas and values that the tests of limits share."""

from __future__ import annotations

from typing import Any

ANYTHING: dict[str, Any] = {"type": "object"}


def of_x(**schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}}


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"l": value}
    return value
