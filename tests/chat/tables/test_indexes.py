"""Indexes of fields: made for what is used often, dropped when nobody uses it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from aily.database.rows import fetch_column
from aily.redis.clients import sync_redis
from chat.tables import index_uses, indexes, keys
from chat.tables.changes import Author
from chat.tables.fields import NewField, delete_field
from chat.tables.index_uses import note_uses
from chat.tables.models import Field, FieldIndex, Table
from chat.tables.tables import create_table
from chat.tables.view_queries import ViewParts

_DEFINITIONS = """
SELECT indexdef FROM pg_indexes
 WHERE schemaname = 'tables' AND tablename = %s AND indexname LIKE 'x%%' ORDER BY indexname
"""


@pytest.fixture
def table(alice: User, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(indexes, "MIN_ROWS", 0)
    monkeypatch.setattr(index_uses, "MIN_ROWS", 0)
    sync_redis().delete(keys.field_uses(_today()))
    new = [NewField("Name", "text"), NewField("Count", "integer"), NewField("Day", "date")]
    return create_table(alice, "Large", new)


def _today() -> str:
    return f"{timezone.now():%Y%m%d}"


def _key(table: Table, name: str) -> str:
    return Field.objects.get(table=table, name=name).key


def _use(table: Table, name: str, times: int = 3, *, op: str = "", desc: bool = False) -> None:
    key = _key(table, name)
    parts = (
        ViewParts(filter={"field": key, "op": op, "value": 1})
        if op
        else ViewParts(sorts=[{"field": key, "desc": desc}])
    )
    for _ in range(times):
        note_uses(table, parts)


def _definitions(table: Table) -> list[str]:
    return fetch_column(str, _DEFINITIONS, [f"t{table.pk}"])


def test_made_after_three_uses(table: Table) -> None:
    _use(table, "Count", desc=True)
    _use(table, "Day", times=2)
    _use(table, "Name", op="is")
    indexes.keep_indexes()
    found = " ".join(_definitions(table))
    assert found.count("CREATE INDEX") == 2
    assert f"({_key(table, 'Count')} DESC NULLS LAST, id)" in found
    assert f"USING hash ({_key(table, 'Name')})" in found
    _use(table, "Day", times=1)
    indexes.keep_indexes()
    indexes.keep_indexes()
    assert len(_definitions(table)) == FieldIndex.objects.count() == 3


def test_texts_of_any_length_can_still_be_stored(table: Table) -> None:
    """An index of texts in their order would refuse long ones."""
    _use(table, "Name")
    _use(table, "Name", op="is")
    indexes.keep_indexes()
    assert [("btree" in found) for found in _definitions(table)] == [False]


def test_equality_and_order_share_an_index(table: Table) -> None:
    _use(table, "Count")
    _use(table, "Count", op="is")
    indexes.keep_indexes()
    assert len(_definitions(table)) == 1


def test_no_more_than_eight(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "MAX_INDEXES", 1)
    _use(table, "Count")
    _use(table, "Day")
    indexes.keep_indexes()
    assert len(_definitions(table)) == 1


def test_dropped_when_unused(table: Table) -> None:
    _use(table, "Count")
    _use(table, "Day")
    indexes.keep_indexes()
    FieldIndex.objects.update(used_at=timezone.now() - timedelta(days=31))
    sync_redis().delete(keys.field_uses(_today()))
    _use(table, "Day", times=1)
    indexes.keep_indexes()
    assert [_key(table, "Day") in found for found in _definitions(table)] == [True]


def test_half_built_and_deleted_ones_are_dropped(table: Table, alice: User) -> None:
    _use(table, "Count")
    _use(table, "Day")
    indexes.keep_indexes()
    sync_redis().delete(keys.field_uses(_today()))
    half_built = FieldIndex.objects.filter(field__name="Day")
    half_built.update(is_built=False, created_at=timezone.now() - timedelta(hours=1))
    delete_field(Field.objects.get(table=table, name="Count"), Author(alice.pk))
    indexes.keep_indexes()
    assert _definitions(table) == []
    assert not FieldIndex.objects.exists()
