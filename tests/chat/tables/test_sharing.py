"""What an owner grants on a table, and what each access allows."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group

from accounts.access.permissions import permissions_of
from accounts.delegation import may_change_user
from accounts.models import User
from tests.chat.tables.conftest import Grid, Grids, as_user
from tests.conftest import ClientOf
from tests.subtests import subtested


def share(grid: Grid, *shares: dict[str, Any]) -> Any:
    return grid.send("put", "/shares", {"shares": list(shares)})


@pytest.mark.parametrize(
    ("access", "names", "allowed"),
    [
        ("read", ["read"], {"read"}),
        ("review", ["read", "review"], {"read"}),
        ("run", ["read", "review", "run"], {"read"}),
        ("edit", ["read", "review", "edit"], {"read", "write", "fields"}),
    ],
)
def test_each_access_allows_what_it_says(
    grids: Grids, bob: User, client_of: ClientOf, access: str, names: list[str], allowed: set[str]
) -> None:
    grid = grids.make(A="text")
    [row] = grid.create({"A": "x"})
    assert share(grid, {"user": "bob", "access": [access]}).status_code == 200
    bobs = as_user(grid, client_of(bob))
    assert bobs.send("get", "").json()["access"] == names
    statuses = {
        "read": bobs.send("get", f"/rows/{row}").status_code,
        "write": bobs.send("patch", f"/rows/{row}", {"values": bobs.keyed({"A": "y"})}).status_code,
        "fields": bobs.send("post", "/fields", {"name": "B", "kind": "text"}).status_code,
        "share": bobs.send("get", "/shares").status_code,
        "delete": bobs.send("delete", "").status_code,
    }
    assert {name for name, status in statuses.items() if status < 300} == allowed
    assert {status for status in statuses.values() if status >= 300} == {403}
    assert [item["id"] for item in bobs.client.get("/api/tables").json()["items"]] == [grid.id]
    assert share(grid).json() == {"shares": []}
    assert bobs.send("get", "").status_code == 404


def test_a_table_is_shared_with_a_role(grids: Grids, bob: User, client_of: ClientOf) -> None:
    grid = grids.make(A="text")
    readers = Group.objects.create(name="readers")
    bob.groups.add(readers)
    shown = share(grid, {"role": "readers", "access": ["read", "run"]}).json()
    assert shown == {"shares": [{"user": None, "role": "readers", "access": ["read", "run"]}]}
    assert as_user(grid, client_of(bob)).send("get", "").status_code == 200


@subtested(
    ("wrong", "where"),
    [
        ({"user": "nobody", "access": ["read"]}, "shares.0.user"),
        ({"role": "nobody", "access": ["read"]}, "shares.0.role"),
        ({"user": "bob", "access": ["own"]}, "shares.0.access.0"),
        ({"user": "bob", "access": []}, "shares.0.access"),
        ({"access": ["read"]}, "shares.0"),
        ({"user": "bob", "role": "readers", "access": ["read"]}, "shares.0"),
    ],
)
def test_a_wrong_share_is_refused_and_changes_nothing(
    grids: Grids, bob: User, wrong: dict[str, Any], where: str
) -> None:
    grid = grids.make(A="text")
    share(grid, {"user": "bob", "access": ["read"]})
    refused = share(grid, wrong)
    assert refused.status_code in (400, 422)
    assert refused.json()["errors"][0]["field"] == where
    assert grid.send("get", "/shares").json()["shares"][0]["access"] == ["read"]


def test_sharing_takes_no_user_out_of_the_hands_of_staff(
    grids: Grids, bob: User, staff: User
) -> None:
    grid = grids.make(A="text")
    share(grid, {"user": "bob", "access": ["edit"]})
    assert permissions_of(bob).allows("tables.change_table", grid.id)
    assert not permissions_of(staff).allows("tables.change_table", grid.id)
    assert may_change_user(staff, bob)


def test_an_editor_links_to_no_row_of_a_table_that_they_may_not_read(
    grids: Grids, bob: User, client_of: ClientOf
) -> None:
    """Or an error would say which rows there are. What a cell links to already may stay, or go."""
    closed = grids.make("Closed", A="text")
    first, second = closed.create({"A": "x"}, {"A": "y"})
    grid = grids.make(A="text", L=("link", {"table": closed.id}))
    [row] = grid.create({"L": [first]})
    share(grid, {"user": "bob", "access": ["edit"]})
    bobs = as_user(grid, client_of(bob))

    def edit(cell: list[int]) -> Any:
        return bobs.send("patch", f"/rows/{row}", {"values": bobs.keyed({"L": cell})})

    found, none = edit([first, second]), edit([first, 10**9])
    assert found.status_code == none.status_code == 400
    assert found.json()["detail"].replace(str(second), "N") == none.json()["detail"].replace(
        str(10**9), "N"
    )
    refused = bobs.send("post", "/rows", {"values": bobs.keyed({"L": [first]})})
    assert refused.status_code == 400
    assert edit([first]).status_code == 200
    assert edit([]).status_code == 200
    assert edit([first]).status_code == 400
    undone = bobs.send("post", ":undo", {})
    assert (undone.status_code, undone.json()["conflicts"]) == (200, [])
    assert grid.row(row)["L"] == [first]
