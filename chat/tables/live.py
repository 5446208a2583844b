"""Announces changes of tables to those who have them open.

Each table has one log, a Redis Stream of revisions with the ids of the rows that changed. Values
are not in it: readers fetch what they show. The log is a hint: a reader who finds a revision
missing reloads, so a change whose writer died before it announced it is not lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from aily.concurrency.faults import note_fault
from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from aily.redis.scripts import LuaScript
from chat.eventlog.notices import Notice, encode_notice
from chat.tables import keys

#: Rows that a log keeps: a reader who has missed more reloads.
MAX_LOGGED_ROWS = 10_000
#: Rows of one change; where more change at once, readers reload.
MAX_ROWS_OF_CHANGE = 2_000
#: A log without news is dropped: its readers compare revisions with the table's row.
LOG_SECONDS = 3_600

_append = LuaScript[int](Path(__file__).parent / "lua" / "changed.lua")


class LoggedChange(msgspec.Struct, omit_defaults=True):
    """An entry of the log. No `rows`: the fields changed, or too many rows did."""

    rev: int
    rows: list[int] = []
    #: Ids of the fields whose values changed; none: the rows were created, moved or deleted.
    fields: list[int] = []
    is_schema: bool = False


def changed(table_id: int, rev: int, row_ids: Sequence[int], field_ids: Sequence[int]) -> None:
    """Announce revision `rev` of a table: these rows changed, in these fields.

    To be called after the commit. No rows: the fields themselves were added, changed or deleted. No
    fields: the rows were created, moved or deleted. Raises nothing.
    """
    change = LoggedChange(rev, is_schema=not row_ids)
    if len(row_ids) <= MAX_ROWS_OF_CHANGE:
        change.rows, change.fields = list(row_ids), list(field_ids)
    try:
        _append.call([keys.changes_log(table_id)], _arguments(table_id, change))
    except RedisUnavailable:
        return
    except Exception:  # noqa: BLE001 - logged; the change itself is committed
        note_fault("announcing a table's change")


def wake_readers(table_id: int) -> None:
    """Have those who follow the table look at its row: it was deleted. Raises nothing."""
    try:
        sync_redis().publish(keys.changes_channel(table_id), _notice(table_id))
    except RedisUnavailable:
        return


def _arguments(table_id: int, change: LoggedChange) -> list[bytes | str | int]:
    return [
        change.rev,
        msgspec.json.encode(change),
        max(len(change.rows), 1),
        MAX_LOGGED_ROWS,
        LOG_SECONDS,
        keys.changes_channel(table_id),
        _notice(table_id),
    ]


def _notice(table_id: int) -> bytes:
    # Notices are of tasks, whose ids have 36 characters.
    return encode_notice(Notice(None, f"{table_id:036d}", b""))
