"""Follows the changes of a table for one reader: merged, at most four times a second.

The whole state of a reader is a position in the table's log and the revisions that it has seen.
Each turn checks with the table's row whether the user may still read it, and its revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from django.db import Error as DatabaseError

from accounts.models import User
from aily.database.outages import is_away
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from aily.redis.errors import RedisUnavailable
from chat.eventlog.readers import reader_feed
from chat.frames import TableSubscribe
from chat.tables import keys
from chat.tables.frames import TableChanged, TableReload, TableSubscribed
from chat.tables.live import MAX_LOGGED_ROWS, LoggedChange
from chat.tables.models import Table
from chat.tables.permissions import get_table

#: Between two frames of one reader.
MIN_SECONDS = 0.25
#: Without notices the table's row is read all the same: one may be lost.
MAX_SECONDS = 15.0
#: How long a revision may be missing, as its writer has not announced it yet.
GAP_SECONDS = 2.0
#: Before another try while a server is away.
RETRY_SECONDS = 1.0

TableFrame = TableSubscribed | TableChanged | TableReload


class Entry(msgspec.Struct):
    """An entry of the log, with its place in it."""

    id: str
    change: LoggedChange


@dataclass(slots=True)
class Position:
    """How far one reader has read the log."""

    #: Of the last entry that was read.
    id: str
    #: All revisions up to this one have been seen, and of later ones these.
    seen: int
    later: set[int] = field(default_factory=set)
    #: Since when revisions have been missing (the loop's clock); None: none is.
    missing_since: float | None = None

    @classmethod
    def after(cls, place: str | None, rev: int) -> Position:
        """The position after a revision or a frame's id; None: after the table's revision."""
        if place is None:
            return cls(f"{rev}-0", rev)
        seen, _, number = place.partition("-")
        return cls(f"{int(seen)}-{int(number or 0)}", int(seen))

    def add(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.id = entry.id
            if entry.change.rev > self.seen:
                self.later.add(entry.change.rev)
        while self.seen + 1 in self.later:
            self.seen += 1
            self.later.discard(self.seen)

    def misses(self, rev: int, now: float) -> bool:
        """Return whether a revision up to `rev` has been missing for GAP_SECONDS."""
        if self.seen >= rev:
            self.missing_since = None
            return False
        if self.missing_since is None:
            self.missing_since = now
        return now - self.missing_since >= GAP_SECONDS

    def skip_to(self, rev: int) -> None:
        """Take all revisions up to `rev` as seen: the reader reloads the table."""
        self.seen = max(rev, self.seen)
        self.later = {later for later in self.later if later > self.seen}
        self.missing_since = None
        if int(self.id.partition("-")[0]) < rev:
            self.id = f"{rev}-0"


def follow(user: User, frame: TableSubscribe) -> AsyncGenerator[TableFrame]:
    """Answer a frame that subscribes to a table."""
    after = None if frame.after is None else str(frame.after)
    return follow_table(user, frame.table, after, frame.ref)


async def follow_table(
    user: User, table_id: int, after: str | None, ref: str | None
) -> AsyncGenerator[TableFrame]:
    """Give what has changed in the table since `after`, and go on with what changes.

    `after`: a revision, or the id of a frame; None: from now on. Raises NotFound once the table is
    deleted or the user may not read it.
    """
    loop = asyncio.get_running_loop()
    async with reader_feed(keys.changes_channel(table_id), user.pk) as feed:
        table = await in_database(get_table, user, table_id)
        position = Position.after(after, table.rev)
        yield TableSubscribed(ref, table_id, position.id, table.rev, table.schema_rev)
        if position.seen > table.rev:
            # The reader's cursor is ahead of the table, which was restored from a backup.
            position = Position.after(None, table.rev)
            yield TableReload(table_id, position.id, table.rev, "fields")
        is_cut = await _is_cut(table_id, position)
        while True:
            turn_at = loop.time()
            feed.clear_lag()
            feed.clear()
            found = await _read_since(user, table_id, position)
            if found is None:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            table, entries = found
            for frame in _frames(table, position, entries, loop.time(), is_cut=is_cut):
                yield frame
            is_cut = False
            await feed.next(GAP_SECONDS if position.missing_since is not None else MAX_SECONDS)
            await asyncio.sleep(max(turn_at + MIN_SECONDS - loop.time(), 0))


async def _is_cut(table_id: int, position: Position) -> bool:
    """Return whether the log has dropped entries that this reader has not seen."""
    try:
        oldest = await async_redis().xrange(keys.changes_log(table_id), count=1)
    except RedisUnavailable:
        return False
    return bool(oldest) and int(oldest[0][0].partition(b"-")[0]) > position.seen + 1


async def _read_since(
    user: User, table_id: int, position: Position
) -> tuple[Table, list[Entry]] | None:
    """The table, and what is new in its log; None while a server is away. Raises NotFound."""
    try:
        # The row first: then the log has its revision, or the writer is about to announce it.
        table = await in_database(get_table, user, table_id)
        raw = await async_redis().xrange(keys.changes_log(table_id), f"({position.id}", "+")
    except RedisUnavailable:
        return None
    except DatabaseError as error:
        if not is_away(error):
            raise
        return None
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", raw)
    return table, [
        Entry(place.decode(), msgspec.json.decode(entry[b"e"], type=LoggedChange))
        for place, entry in entries
    ]


def _frames(
    table: Table, position: Position, entries: Sequence[Entry], now: float, *, is_cut: bool
) -> list[TableFrame]:
    """Merge the entries into the frames that the reader is sent: one, or none."""
    changes = [entry.change for entry in entries]
    position.add(entries)
    rev = max([table.rev, *(change.rev for change in changes)])
    if is_cut or position.misses(table.rev, now):
        position.skip_to(rev)
        return [TableReload(table.pk, position.id, rev, "fields")]
    if not changes:
        return []
    if any(change.is_schema for change in changes):
        return [TableReload(table.pk, position.id, rev, "fields")]
    rows = dict.fromkeys(row for change in changes for row in change.rows)
    if not all(change.rows for change in changes) or len(rows) > MAX_LOGGED_ROWS:
        return [TableReload(table.pk, position.id, rev, "rows")]
    fields = dict.fromkeys(f"f{number}" for change in changes for number in change.fields)
    names = list(fields) if all(change.fields for change in changes) else []
    return [TableChanged(table.pk, position.id, rev, list(rows), names)]
