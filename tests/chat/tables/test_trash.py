"""What was deleted is dropped after its days, and the check of the catalogue."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from aily.database.rows import execute, fetch_column
from chat.tables import ddl, fields
from chat.tables.actors import purge_tables
from chat.tables.models import Change, Field, Table
from tests.chat.tables.conftest import Grids


def relations() -> set[str]:
    return set(
        fetch_column(
            str,
            "SELECT relname::text FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace = 'tables'::regnamespace",
        )
    )


def test_what_is_in_the_trash_is_dropped_after_its_days(grids: Grids) -> None:
    young, old = grids.make("Young", A="text", B="text"), grids.make("Old", A="text")
    link = old.add_field("L", "link", table=young.id)
    young.client.delete(f"/api/tables/fields/{young.fields['A']['id']}")
    young.client.delete(f"/api/tables/fields/{young.fields['B']['id']}")
    old.send("delete", "")
    before = timezone.now() - timedelta(days=8)
    Table.objects.filter(pk=old.id).update(deleted_at=before)
    Field.objects.filter(pk=young.fields["A"]["id"]).update(deleted_at=before)
    Change.objects.update(created_at=timezone.now() - timedelta(days=91))
    kept = young.create({})
    purge_tables()
    assert not relations() & {f"t{old.id}", f"l{link['id']}"}
    assert list(Table.objects.values_list("pk", flat=True)) == [young.id]
    assert [field.name for field in Field.objects.all()] == ["B"]
    assert [change.rows for change in Change.objects.all()] == [len(kept)]
    young.client.post(f"/api/tables/fields/{young.fields['B']['id']}:restore")
    assert young.send("get", f"/rows/{kept[0]}").json()["values"] == {young.key("B"): None}


def test_the_trash_of_a_table_is_bounded(grids: Grids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MAX_TRASHED", 2)
    grid = grids.make(A="text", B="text", C="text", D="text")
    for name in "ABC":
        grids.client.delete(f"/api/tables/fields/{grid.fields[name]['id']}")
    trashed = grid.send("get", "/fields?is_deleted=true").json()
    assert [field["name"] for field in trashed] == ["C", "B"]
    call_command("check_tables", "--drop-unknown", stdout=StringIO())


def test_a_table_that_had_too_many_columns_is_copied_into_a_new_one(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grids.make(A="text", B="integer")
    ids = grid.create(*({"A": f"row {number}", "B": number} for number in range(20)))
    execute(f"CREATE INDEX view_index ON tables.t{grid.id} ({grid.key('B')})")
    monkeypatch.setattr(ddl, "MAX_COLUMNS_EVER", 7)
    for _ in range(4):
        added = grid.add_field("More", "text")
        monkeypatch.setattr(fields, "MAX_TRASHED", 0)
        grids.client.delete(f"/api/tables/fields/{added['id']}")
    assert ddl.columns_ever(grid.id) <= 8
    assert grid.row(ids[7]) == {"A": "row 7", "B": 7}
    [new] = grid.create({"A": "new"})
    assert new == ids[-1] + 1
    indexes = "SELECT indexname::text FROM pg_indexes WHERE tablename = %s ORDER BY 1"
    assert fetch_column(str, indexes, [f"t{grid.id}"]) == [f"t{grid.id}_pkey", "view_index"]
    call_command("check_tables", "--drop-unknown", stdout=StringIO())


def test_the_check_mends_what_is_missing_and_names_the_rest(grids: Grids) -> None:
    grid = grids.make(A="text", B="integer")
    link = grid.add_field("L", "link", table=grid.id)
    call_command("check_tables", "--drop-unknown", stdout=StringIO())
    [row] = grid.create({"A": "x", "B": 1})
    a, b = grid.key("A"), grid.key("B")
    execute(f"ALTER TABLE tables.t{grid.id} DROP COLUMN {a}")
    execute(f"ALTER TABLE tables.t{grid.id} ALTER COLUMN {b} TYPE numeric")
    execute(f"DROP TABLE tables.l{link['id']}")
    execute("CREATE TABLE tables.t999999999 (id bigint)")
    said = StringIO()
    with pytest.raises(CommandError, match="2 differences are left"):
        call_command("check_tables", stdout=said)
    assert f"missing: tables.t{grid.id} {a}: mended" in said.getvalue()
    assert f"type: tables.t{grid.id} {b} is numeric, not bigint" in said.getvalue()
    assert "unknown: tables.t999999999\n" in said.getvalue()
    assert grid.row(row) == {"A": None, "B": 1, "L": None}
    execute(f"ALTER TABLE tables.t{grid.id} ALTER COLUMN {b} TYPE bigint")
    call_command("check_tables", "--drop-unknown", stdout=said)
    assert "t999999999" not in relations()
    call_command("check_tables", "--dry-run", stdout=said)
    assert said.getvalue().endswith("The catalogue and PostgreSQL agree.\n")
