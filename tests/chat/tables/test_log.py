"""What is known of changes: the table's own log, the audit log, and the admin."""

from __future__ import annotations

from auditlog.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from chat.tables.models import Table
from tests.chat.tables.conftest import Grids
from tests.conftest import grant

JSON = "application/json"


def test_changes_are_listed_by_who_and_what(grids: Grids) -> None:
    grid = grids.make(A="text")
    [row] = grid.create({"A": "x"})
    grid.batch({"op": "update", "id": row, "values": {"A": "y"}}, client="tab-2")
    grid.add_field("B", "text")
    listed = grid.send("get", "/changes").json()["items"]
    assert [(item["kind"], item["user"], item["client"], item["rev"]) for item in listed] == [
        ("field", "alice", "", 3),
        ("rows", "alice", "tab-2", 2),
        ("rows", "alice", "", 1),
    ]
    assert [item["is_undoable"] for item in listed] == [True, True, True]
    assert grid.send("get", "/changes?kind=field&user=alice").json()["count"] == 1
    assert grid.send("get", "/changes?user=bob").json()["count"] == 0


def test_changes_of_tables_and_fields_are_audited_and_those_of_rows_are_not(grids: Grids) -> None:
    grid = grids.make(A="text")
    grid.create({"A": "x"})
    field = f"/api/tables/fields/{grid.fields['A']['id']}"
    grids.client.patch(field, {"name": "B"}, content_type=JSON)
    grid.send("patch", "", {"name": "Renamed"})
    grid.send("delete", "")
    entries = LogEntry.objects.filter(content_type__app_label="tables").order_by("pk")
    changed = [(entry.content_type.model, sorted(entry.changes_dict)) for entry in entries]
    assert ("field", ["name"]) in changed
    assert ("table", ["name"]) in changed
    assert changed[-1] == ("table", ["deleted_at"])
    assert {entry.actor.username for entry in entries if entry.actor} == {"alice"}
    assert not [entry for entry in entries if entry.content_type.model == "change"]


def test_staff_sees_tables_in_the_admin_and_moves_them_to_the_trash(
    grids: Grids, staff: User, client: Client
) -> None:
    grid = grids.make("Confidential", A="text")
    grid.create({"A": "a secret value"})
    grant(staff, Permission.objects.filter(content_type__app_label="tables"))
    client.force_login(staff)
    for page in ("table", "change", "import", "export", "view", "aifield"):
        found = client.get(f"/admin/tables/{page}/?q=alice")
        assert found.status_code == 200, page
    shown = client.get(f"/admin/tables/table/{grid.id}/change/").content.decode()
    assert "Confidential" in shown
    assert "a secret value" not in shown
    for action, is_deleted in (("move_to_trash", True), ("take_from_trash", False)):
        form = {"action": action, "_selected_action": [grid.id]}
        assert client.post("/admin/tables/table/", form).status_code == 302
        assert (Table.objects.get().deleted_at is not None) == is_deleted


def test_staff_decides_how_many_rows_a_table_may_have(grids: Grids, staff: User) -> None:
    grid = grids.make(A="text")
    grant(staff, Permission.objects.filter(content_type__app_label="tables"))
    browser = Client()
    browser.force_login(staff)
    changed = browser.patch(grid.path, {"max_rows": 1}, content_type=JSON)
    assert changed.json()["max_rows"] == 1
    grid.create({})
    assert grid.batch({"op": "create", "values": {}}).json()["code"] == "table_full"
