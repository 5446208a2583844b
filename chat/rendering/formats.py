"""The `format`s that answers are held to: those that OpenAI's strict mode guarantees.

Each check takes linear time. Other formats are annotations, as JSON Schema says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import date
from functools import partial

from jsonschema import FormatChecker

from chat.rendering.patterns import Pattern

_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([zZ]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DURATION_TIME = r"T(\d+H(\d+M)?(\d+S)?|\d+M(\d+S)?|\d+S)"
_DURATION_DAYS = r"(\d+Y(\d+M)?(\d+D)?|\d+M(\d+D)?|\d+D)"
_PATTERNS = {
    "duration": rf"^P(\d+W|{_DURATION_DAYS}({_DURATION_TIME})?|{_DURATION_TIME})$",
    "email": rf"^[^\s@]+@({_LABEL}\.)*{_LABEL}$",
    "hostname": rf"^({_LABEL}\.)*{_LABEL}\.?$",
    "time": rf"^{_TIME}$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
_DAY = Pattern(r"^\d{4}-\d{2}-\d{2}$")
_OF_A_DAY = Pattern(rf"^[Tt ]{_TIME}$")
_DAY_CHARS = len("2026-11-30")
#: Longer texts are none of these, and some checks would take long to say so.
_MAX_CHARS = 1_000


def _is_date(text: str) -> bool:
    # Python also reads weeks, and days without dashes.
    if not _DAY.matches(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    return _is_date(text[:_DAY_CHARS]) and _OF_A_DAY.matches(text[_DAY_CHARS:])


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _make_checker() -> FormatChecker:
    checker = FormatChecker(())
    checks = {name: Pattern(pattern).matches for name, pattern in _PATTERNS.items()}
    checks |= {
        "date": _is_date,
        "date-time": _is_date_time,
        "ipv4": _is_ipv4,
        "ipv6": _is_ipv6,
    }
    for name, check in checks.items():
        checker.checkers[name] = (partial(_fits, check), ())
    return checker


def _fits(check: Callable[[str], bool], value: object) -> bool:
    """A format says nothing about values that are no texts."""
    return not isinstance(value, str) or (len(value) <= _MAX_CHARS and check(value))


FORMATS = _make_checker()
