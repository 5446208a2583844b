"""Snapshots: the ids of a view's rows in order, kept in Redis for those who scroll through it.

Reading any place of a snapshot is a read by primary key. Its rows keep their places while others
change the table; rows that enter and leave the view meanwhile are counted. A snapshot that has
expired, or that the cache has dropped, is replaced by opening the view again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import msgspec
from pydantic import JsonValue

from accounts.models import User
from aily.cache.store import client
from aily.problems import InvalidRequest
from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import keys
from chat.tables.exceptions import SnapshotGone
from chat.tables.fields import live_fields
from chat.tables.index_uses import note_uses
from chat.tables.live import LoggedChange
from chat.tables.models import Field, Table, View
from chat.tables.permissions import get_table
from chat.tables.queries.aggregates import Aggregate, Group, aggregate
from chat.tables.queries.catalogue import operands_of
from chat.tables.queries.execution import bounded_query
from chat.tables.queries.index import ID_BYTES, matching_ids, packed_ids, unpack_ids
from chat.tables.view_queries import (
    ViewParts,
    ViewQuery,
    compile_parts,
    compile_stored,
    parts_of,
    without_deleted,
)

#: From the last use on.
SNAPSHOT_SECONDS = 600
#: Snapshots and bytes of one user; the oldest snapshot goes when one more is opened.
MAX_SNAPSHOTS_PER_USER = 16
MAX_BYTES_PER_USER = 33_554_432
#: Rows of a snapshot: 8 MB.
MAX_ROWS = 1_000_000
#: Rows of a page.
MAX_PAGE = 500


class About(msgspec.Struct):
    """What a snapshot was made of."""

    table: int
    rev: int
    parts: dict[str, Any]
    #: Who opened it; 0: by a version that did not say.
    user: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    id: str
    table: Table
    rev: int
    count: int
    groups: list[Group]
    #: What is computed of each group.
    aggregates: list[Aggregate]
    has_more_groups: bool
    #: Fields that the view names and that were deleted.
    ignored: list[str]


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Rows of a snapshot by their ids, in its order."""

    table: Table
    fields: list[Field]
    ids: list[int]
    count: int
    #: Those of the ids that the view no longer has; some may be deleted.
    outside: set[int]


@dataclass(frozen=True, slots=True)
class SnapshotChanges:
    """Rows that the view has now and the snapshot has not, and the other way round."""

    rev: int
    entered: int
    left: int


# --- Opening ------------------------------------------------------------------------------------
def open_view(user: User, view: View, given: Mapping[str, JsonValue]) -> Snapshot:
    """Make a snapshot of a view, with the parts `given` in place of those that it has.

    Raises InvalidRequest.
    """
    with bounded_query():
        table = get_table(user, view.table_id)
        operands = operands_of(live_fields(table.pk), user)
        stored, ignored = without_deleted(parts_of(view), operands)
        parts = replace(stored, **given)  # type: ignore[arg-type]
        found = compile_parts(table.pk, operands, parts)
        packed = packed_ids(found.query, found.groups)
        groups, has_more = _groups(found)
    if len(packed) > MAX_ROWS * ID_BYTES:
        raise because(
            InvalidRequest, Reason.of("view_too_large", limit=f"{MAX_ROWS:,}"), field="filter"
        )
    note_uses(table, parts)
    return Snapshot(
        _store(user, About(table.pk, table.rev, asdict(parts), user.pk), packed),
        table,
        table.rev,
        len(packed) // ID_BYTES,
        groups,
        list(found.aggregates),
        has_more,
        ignored,
    )


def _groups(found: ViewQuery) -> tuple[list[Group], bool]:
    """The groups in the order of the snapshot."""
    if not found.groups:
        return [], False
    return aggregate(found.query, found.groups, found.aggregates)


def _store(user: User, about: About, packed: bytes) -> str:
    snapshot_id = secrets.token_urlsafe(18)
    own = keys.snapshots_of(user.pk)
    pipe = client().pipeline(transaction=False)
    pipe.set(keys.snapshot_ids(snapshot_id), packed, ex=SNAPSHOT_SECONDS)
    encoded = msgspec.json.encode(about)
    pipe.set(keys.snapshot_about(snapshot_id), encoded, ex=SNAPSHOT_SECONDS)
    pipe.lpush(own, f"{snapshot_id}:{len(packed) + len(encoded)}")
    pipe.lrange(own, 0, -1)
    pipe.expire(own, SNAPSHOT_SECONDS * MAX_SNAPSHOTS_PER_USER)
    _drop_oldest(own, pipe.execute()[3])
    return snapshot_id


def _drop_oldest(own: str, listed: Sequence[bytes]) -> None:
    """Delete a user's oldest snapshots beyond the bounds. `listed`: id and bytes of each, newest
    first."""
    kept, total = 0, 0
    for entry in listed:
        total += int(entry.rpartition(b":")[2])
        if kept and (total > MAX_BYTES_PER_USER or kept >= MAX_SNAPSHOTS_PER_USER):
            break
        kept += 1
    if kept == len(listed):
        return
    pipe = client().pipeline(transaction=False)
    pipe.ltrim(own, 0, kept - 1)
    for entry in listed[kept:]:
        snapshot_id = entry.decode().rpartition(":")[0]
        pipe.unlink(keys.snapshot_ids(snapshot_id))
        pipe.unlink(keys.snapshot_about(snapshot_id))
    pipe.execute()


# --- Reading ------------------------------------------------------------------------------------
def read_page(user: User, snapshot_id: str, start: int, number: int) -> SnapshotPage:
    """The ids of `number` rows from the place `start`, from 0. Raises SnapshotGone and NotFound.

    If the table has changed since, one more statement finds the rows that have left the view.
    """
    about, packed, size = _load(user, snapshot_id, start, number)
    table = get_table(user, about.table)
    ids = list(unpack_ids(packed))
    fields = live_fields(table.pk)
    outside: set[int] = set()
    if table.rev != about.rev:
        with bounded_query():
            found = compile_stored(table.pk, operands_of(fields, user), _parts(about))
            outside = set(ids) - matching_ids(found.query, ids)
    return SnapshotPage(table, fields, ids, size // ID_BYTES, outside)


def _load(user: User, snapshot_id: str, start: int, number: int) -> tuple[About, bytes, int]:
    """Read what a snapshot of the user's was made of, the packed ids of one page, and its size in
    bytes. One round trip. Raises SnapshotGone, also for another user's snapshot: its rows may
    depend on fields that only that user may read.
    """
    ids, about = keys.snapshot_ids(snapshot_id), keys.snapshot_about(snapshot_id)
    pipe = client().pipeline(transaction=False)
    pipe.getex(about, ex=SNAPSHOT_SECONDS)
    pipe.getrange(ids, start * ID_BYTES, (start + number) * ID_BYTES - 1)
    pipe.strlen(ids)
    pipe.expire(ids, SNAPSHOT_SECONDS)
    raw, packed, size, is_there = pipe.execute()
    # The ids of a view without rows are an empty text, which is there as well.
    found = msgspec.json.decode(raw, type=About) if raw is not None and is_there else None
    if found is None or found.user not in (user.pk, 0):
        raise SnapshotGone("This snapshot is gone. Open the view again.")
    return found, packed, int(size)


def _parts(about: About) -> ViewParts:
    return ViewParts(**about.parts)


# --- What has changed since ---------------------------------------------------------------------
def changes_since(user: User, snapshot_id: str) -> SnapshotChanges:
    """How many rows have entered and left the view since. Raises SnapshotGone and NotFound.

    Compares the changed rows only, if the table's log still has all of them; else the whole view.
    """
    about, packed, _ = _load(user, snapshot_id, 0, MAX_ROWS)
    table = get_table(user, about.table)
    if table.rev == about.rev:
        return SnapshotChanges(table.rev, 0, 0)
    changed = _changed_rows(about, table.rev)
    with bounded_query():
        operands = operands_of(live_fields(table.pk), user)
        query = compile_stored(table.pk, operands, _parts(about)).query
        if changed is None:
            before, now = set(unpack_ids(packed)), set(unpack_ids(packed_ids(query)))
        else:
            # A view may have a million rows, of which few have changed.
            before = changed.intersection(unpack_ids(packed))
            now = matching_ids(query, sorted(changed))
    return SnapshotChanges(table.rev, len(now - before), len(before - now))


def _changed_rows(about: About, rev: int) -> set[int] | None:
    """Ids of the rows that have changed since; None: the log does not have all of them."""
    try:
        raw = sync_redis().xrange(keys.changes_log(about.table), f"({about.rev}-0", "+")
    except RedisUnavailable:
        return None
    entries = cast("Sequence[tuple[bytes, dict[bytes, bytes]]]", raw)
    changes = [msgspec.json.decode(entry[b"e"], type=LoggedChange) for _, entry in entries]
    seen = {change.rev for change in changes if change.rev > about.rev}
    if len(seen) < rev - about.rev or not all(change.rows for change in changes):
        return None
    return {row for change in changes for row in change.rows}
