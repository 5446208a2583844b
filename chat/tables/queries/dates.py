"""Days and spans of days that conditions name, in the time zone of the condition."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason

MAX_DAYS = 3_650
#: The days [first, end) of a span.
Days = tuple[date, date]

_DAYS = re.compile(r"(last|next)_([0-9]{1,4})_days")


def _month(today: date, shift: int) -> Days:
    return _first_of_month(today, shift), _first_of_month(today, shift + 1)


def _first_of_month(today: date, shift: int) -> date:
    months = today.year * 12 + today.month - 1 + shift
    return date(months // 12, months % 12 + 1, 1)


def _week(today: date, shift: int) -> Days:
    monday = today - timedelta(days=today.weekday()) + timedelta(weeks=shift)
    return monday, monday + timedelta(weeks=1)


def _year(today: date, shift: int) -> Days:
    return date(today.year + shift, 1, 1), date(today.year + shift + 1, 1, 1)


def _day(today: date, shift: int) -> Days:
    first = today + timedelta(days=shift)
    return first, first + timedelta(days=1)


_SPANS: dict[str, tuple[Callable[[date, int], Days], int]] = {
    "today": (_day, 0),
    "yesterday": (_day, -1),
    "tomorrow": (_day, 1),
    "this_week": (_week, 0),
    "last_week": (_week, -1),
    "next_week": (_week, 1),
    "this_month": (_month, 0),
    "last_month": (_month, -1),
    "next_month": (_month, 1),
    "this_year": (_year, 0),
    "last_year": (_year, -1),
    "next_year": (_year, 1),
}


def days_within(name: object, zone: ZoneInfo, path: str) -> Days:
    """The days that a name such as `today` or `last_7_days` means. Weeks begin on Monday.

    `last_7_days` ends with today, `next_7_days` begins with it. Raises InvalidRequest.
    """
    today = datetime.now(zone).date()
    if isinstance(name, str):
        if found := _SPANS.get(name):
            span, shift = found
            return span(today, shift)
        if (match := _DAYS.fullmatch(name)) and 1 <= int(match[2]) <= MAX_DAYS:
            days = timedelta(days=int(match[2]))
            tomorrow = today + timedelta(days=1)
            return (tomorrow - days, tomorrow) if match[1] == "last" else (today, today + days)
    reason = Reason.of("days", names=", ".join(_SPANS), limit=MAX_DAYS)
    raise because(InvalidRequest, reason, field=path)


def zone_named(name: object, path: str) -> ZoneInfo:
    """The time zone of this IANA name; UTC without one. Raises InvalidRequest."""
    if name is None:
        return ZoneInfo("UTC")
    try:
        if isinstance(name, str) and len(name) <= 64:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise because(InvalidRequest, Reason("no_such_zone"), field=path)


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """The moment at which the day begins there; in UTC that may be before the first year."""
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
