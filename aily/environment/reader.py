"""Reads variables by type, each within its bounds. An empty variable counts as not set."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from aily.environment import addresses
from aily.environment.errors import refuse

_TRUE = frozenset({"true", "1", "yes", "on", "y", "t", "ok"})
_FALSE = frozenset({"false", "0", "no", "off", "n", "f"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]*)?|\.[0-9]+)", re.ASCII)
#: Characters of a value that a sentence quotes.
_QUOTED_CHARACTERS = 60
_MAX_INTEGER = 2**31 - 1
_DAY_SECONDS = 86_400

#: Returns what is wrong with a value, as the rest of a sentence, or "".
Check = Callable[[str], str]


class Environment:
    """The variables of a process. A wrong value raises ConfigurationError, which ends the process.

    `names` grows with what is read: it is what `refuse_mistyped_names` compares with.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.names: set[str] = set()

    def _value(self, name: str) -> str:
        self.names.add(name)
        return self._variables.get(name, "").strip()

    # --- Plain values ---------------------------------------------------------------------------
    def boolean(self, name: str, *, default: bool) -> bool:
        value = self._value(name) or str(default)
        if value.lower() not in _TRUE | _FALSE:
            _refuse(name, "true or false", value)
        return value.lower() in _TRUE

    def integer(
        self, name: str, *, default: int, minimum: int = 0, maximum: int = _MAX_INTEGER
    ) -> int:
        value = self._value(name) or str(default)
        if not (_INTEGER.fullmatch(value) and minimum <= int(value) <= maximum):
            _refuse(name, f"a number from {minimum} to {maximum}", value)
        return int(value)

    def number(
        self, name: str, *, default: float, minimum: float = 0, maximum: float = _DAY_SECONDS
    ) -> float:
        value = self._value(name) or str(default)
        number = float(value) if _NUMBER.fullmatch(value) else math.nan
        if not minimum <= number <= maximum:
            _refuse(name, f"a number from {minimum:g} to {maximum:g}", value)
        return number

    def seconds(self, name: str, *, default: float, maximum: float = _DAY_SECONDS) -> float:
        """A time above 0: with 0 or less, what it bounds would never work."""
        return self.number(name, default=default, minimum=0.001, maximum=maximum)

    def text(self, name: str, *, default: str) -> str:
        return self._value(name) or default

    def choice(self, name: str, choices: Sequence[str], *, default: str) -> str:
        value = self._value(name) or default
        if value not in choices:
            _refuse(name, f"one of {', '.join(choices)}", value)
        return value

    def items(self, name: str, *, default: Sequence[str] = ()) -> list[str]:
        """Values with commas between them."""
        value = self._value(name)
        if not value:
            return list(default)
        return [item.strip() for item in value.split(",") if item.strip()]

    def pairs(self, name: str) -> dict[str, str]:
        """`name=value` pairs with commas between them."""
        pairs = [item.partition("=") for item in self.items(name)]
        if not all(key.strip() and value.strip() for key, _, value in pairs):
            _refuse(name, "name=value pairs with commas between them", self._value(name))
        return {key.strip(): value.strip() for key, _, value in pairs}

    def path(self, name: str, *, default: Path) -> Path:
        """An absolute path. What it names need not exist."""
        return Path(self._value(name) or default).resolve()

    # --- Values with a check of their own, which decides what may be quoted --------------------
    def checked(self, name: str, check: Check, *, default: str = "") -> str:
        value = self._value(name)
        if value and (problem := check(value)):
            refuse(f"{name} {problem}")
        return value or default

    def checked_items(self, name: str, check: Check, *, default: Sequence[str] = ()) -> list[str]:
        items = self.items(name, default=default)
        for item in items:
            if problem := check(item):
                refuse(f"{name} {problem}")
        return items

    def host(self, name: str, *, default: str) -> str:
        """A name or address to listen on; an IPv6 address may be in brackets."""
        return self.checked(name, addresses.host_problem, default=default).strip("[]")


def _refuse(name: str, expected: str, value: str) -> NoReturn:
    shown = value if len(value) <= _QUOTED_CHARACTERS else f"{value[:_QUOTED_CHARACTERS]}..."
    refuse(f"{name} must be {expected}, not {shown!r}")
