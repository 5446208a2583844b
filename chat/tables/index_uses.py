"""Notes what views sort and filter by, so that indexes are made for what is used often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from django.utils import timezone
from pydantic import JsonValue

from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat.tables import keys
from chat.tables.models import Table
from chat.tables.view_queries import ViewParts

#: Smaller tables are read as a whole in no time.
MIN_ROWS = 20_000
_KEPT_SECONDS = 3 * 86_400


class Use(NamedTuple):
    """What a query could have used an index for. `order`: asc or desc; equal: for no order."""

    table: int
    field: str
    order: str


def note_uses(table: Table, parts: ViewParts) -> None:
    """Count what this query sorts and filters by. Raises nothing: it is no more than a hint."""
    if table.row_count < MIN_ROWS:
        return
    uses = sorted({use.order + ":" + use.field for use in _uses(table.pk, parts)})
    if not uses:
        return
    key = keys.field_uses(f"{timezone.now():%Y%m%d}")
    try:
        pipe = sync_redis().pipeline(transaction=False)
        for use in uses:
            pipe.hincrby(key, f"{table.pk}:{use}", 1)
        pipe.expire(key, _KEPT_SECONDS)
        pipe.execute()
    except RedisUnavailable:
        return


def read_uses(day: str) -> dict[Use, int]:
    """How often each was used on a day. Raises RedisUnavailable."""
    raw = cast("dict[bytes, bytes]", sync_redis().hgetall(keys.field_uses(day)))
    found: dict[Use, int] = {}
    for name, count in raw.items():
        table, order, field = name.decode().split(":")
        found[Use(int(table), field, order)] = int(count)
    return found


def _uses(table_id: int, parts: ViewParts) -> Iterator[Use]:
    """The first sort, which alone an index can begin with, and the conditions that all rows meet.

    By pinyin nothing is indexed: texts are too long for it.
    """
    sorts = parts.sorts if isinstance(parts.sorts, list) else []
    first = sorts[0] if sorts else None
    if isinstance(first, dict) and isinstance(name := first.get("field"), str):
        yield Use(table_id, name, "desc" if first.get("desc") else "asc")
    tree = parts.filter
    needed: list[JsonValue] = [tree]
    if isinstance(tree, dict) and isinstance(children := tree.get("and"), list):
        needed = children
    for condition in needed:
        if isinstance(condition, dict) and isinstance(name := condition.get("field"), str):
            operator = condition.get("op")
            if operator in ("is", "in"):
                yield Use(table_id, name, "equal")
            elif operator in ("gt", "gte", "lt", "lte", "between", "is_within"):
                yield Use(table_id, name, "asc")
