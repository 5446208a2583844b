"""The menu tree: what each one sees, in which language, and moving items about."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, connection, transaction
from django.test import Client
from guardian.models import GroupObjectPermission
from pytest_django import DjangoAssertNumQueries

from accounts.access.menus import save_item
from accounts.models import MenuItem, Role, User
from aily.database.rows import execute
from aily.problems import Conflict
from tests.conftest import ClientOf
from tests.locks import wait_for_a_lock

JSON = "application/json"


def item(label: str, parent: MenuItem | None = None, **fields: Any) -> MenuItem:
    made = MenuItem(label=label, parent=parent, position=fields.pop("position", 99), **fields)
    made.full_clean()
    save_item(made)
    return made


def labels(nodes: list[dict[str, Any]]) -> list[Any]:
    return [
        (node["label"], labels(node["children"])) if node["children"] else node["label"]
        for node in nodes
    ]


def menu(client: Client, language: str = "en") -> list[Any]:
    answer = client.get("/api/menus", headers={"Accept-Language": language})
    assert answer.status_code == 200
    return labels(answer.json())


@pytest.fixture
def tree(transactional_db: None) -> dict[str, MenuItem]:
    work = item("Work", translations={"de": "Arbeit"})
    staff = item("Staff", is_restricted=True)
    return {
        "work": work,
        "tasks": item("Tasks", work, route="/", icon="list", translations={"de": "Aufgaben"}),
        "scenes": item("Scenes", work),
        "staff": staff,
        "ledger": item("Ledger", staff, permission="chat.view_ledgerentry"),
        "off": item("Off", is_enabled=False),
    }


def test_everybody_sees_what_is_not_restricted_in_their_language(
    alice: User, tree: dict[str, MenuItem], client_of: ClientOf
) -> None:
    client = client_of(alice)
    assert menu(client) == [("Work", ["Tasks", "Scenes"])]
    assert menu(client, "de-AT,de;q=0.9") == [("Arbeit", ["Aufgaben", "Scenes"])]
    assert menu(client, "ja") == [("Work", ["Tasks", "Scenes"])]
    [work] = client.get("/api/menus").json()
    assert work["children"][0] == {
        "id": tree["tasks"].pk, "label": "Tasks", "icon": "list", "route": "/", "children": []
    }  # fmt: skip
    assert labels(client.get("/api/me").json()["menu"]) == [("Work", ["Tasks", "Scenes"])]
    assert Client().get("/api/menus").status_code == 401


@pytest.mark.parametrize(
    ("accepts", "chosen", "label"),
    [
        ("zh-CN,zh;q=0.9", "", "工作"),
        ("xx,de-AT;q=0.5", "", "Arbeit"),
        # The choice of a language for pages holds for labels as well.
        ("de", "zh-hans", "工作"),
        ("zh-CN", "en", "Work"),
        ("de", "no-such-language", "Arbeit"),
        ("*", "", "Work"),
        (";;,q=", "", "Work"),
    ],
)
def test_the_language_of_labels(alice: User, accepts: str, chosen: str, label: str) -> None:
    # Labels may be in more languages than pages are.
    item("Work", translations={"de": "Arbeit", "zh-hans": "工作"})
    client = Client()
    client.force_login(alice)
    client.cookies["django_language"] = chosen
    assert menu(client, accepts) == [label]


def test_a_role_opens_an_item_and_a_permission_the_one_below(
    alice: User, tree: dict[str, MenuItem], client_of: ClientOf
) -> None:
    client = client_of(alice)
    role = Role.objects.create(name="books")
    alice.groups.add(role)
    use = Permission.objects.get(codename="use_menuitem")
    GroupObjectPermission.objects.create(
        group=role, permission=use, content_type=use.content_type, object_pk=tree["staff"].pk
    )
    assert menu(client)[-1] == "Staff"
    role.permissions.add(Permission.objects.get(codename="view_ledgerentry"))
    assert menu(client)[-1] == "Staff"  # on everything it is for staff
    alice.is_staff = True
    alice.save()
    assert menu(client)[-1] == ("Staff", ["Ledger"])
    role.delete()
    assert menu(client) == [("Work", ["Tasks", "Scenes"])]


def test_staff_adds_changes_moves_and_deletes_items(keeper: User, client_of: ClientOf) -> None:
    client = client_of(keeper)

    def post(**body: Any) -> int:
        made = client.post("/api/menus/items", body, content_type=JSON)
        assert made.status_code == 201, made.content
        return int(made.json()["id"])

    first, second = post(label="One"), post(label="Two", position=5)
    third = post(label="Three", position=1)
    assert menu(client) == ["One", "Three", "Two"]
    path = f"/api/menus/items/{first}"
    client.patch(path, {"position": 2}, content_type=JSON)
    assert menu(client) == ["Three", "Two", "One"]
    moved = client.patch(path, {"parent": second, "position": 0}, content_type=JSON).json()
    assert (moved["parent"], moved["position"]) == (second, 0)
    assert menu(client) == ["Three", ("Two", ["One"])]
    refused = client.delete(f"/api/menus/items/{second}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    client.patch(path, {"parent": None, "position": 0, "label": "Uno"}, content_type=JSON)
    assert client.delete(f"/api/menus/items/{third}").status_code == 204
    assert menu(client) == ["Uno", "Two"]
    assert client.get("/api/menus/items").json()["count"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "label"),
        ({"label": ""}, "label"),
        ({"label": "x", "parent": 999}, "parent"),
        ({"label": "x", "route": "javascript:alert(1)"}, "route"),
        ({"label": "x", "route": "//elsewhere.example"}, "route"),
        ({"label": "x", "translations": {"xx": "y"}}, "translations"),
        ({"label": "x", "translations": {"de": ""}}, "translations"),
        ({"label": "x", "permission": "chat.fly"}, "permission"),
        ({"label": "x", "position": -1}, "position"),
        ({"label": "x", "icon": "<svg>"}, "icon"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_made(
    keeper: User, client_of: ClientOf, body: dict[str, Any], field: str
) -> None:
    refused = client_of(keeper).post("/api/menus/items", body, content_type=JSON)
    assert refused.status_code in {400, 422}
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert not MenuItem.objects.exists()


def test_an_item_cannot_be_moved_below_itself(
    keeper: User, tree: dict[str, MenuItem], client_of: ClientOf
) -> None:
    client = client_of(keeper)
    for below in ("work", "tasks"):
        refused = client.patch(
            f"/api/menus/items/{tree['work'].pk}", {"parent": tree[below].pk}, content_type=JSON
        )
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (409, "parent")
    # Nor by whoever goes past the service.
    with pytest.raises(IntegrityError), transaction.atomic():
        MenuItem.objects.filter(pk=tree["work"].pk).update(parent=tree["tasks"].pk)
    assert MenuItem.objects.get(pk=tree["work"].pk).parent is None


def test_two_moves_at_once_make_no_cycle(transactional_db: None) -> None:
    one, two = item("One"), item("Two")

    def move(moved: MenuItem, parent: MenuItem) -> str:
        moved = MenuItem.objects.get(pk=moved.pk)
        moved.parent = parent
        try:
            save_item(moved)
        except Conflict:
            return "refused"
        finally:
            connection.close()
        return "moved"

    # Neither can finish while the tree's lock is held: both have read a tree that allows the move.
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            execute("SELECT pg_advisory_xact_lock(hashtext('accounts_menuitem'))")
            moves = [pool.submit(move, one, two), pool.submit(move, two, one)]
            wait_for_a_lock(waiters=2)
        assert sorted(move.result(10) for move in moves) == ["moved", "refused"]
    assert MenuItem.objects.filter(parent=None).count() == 1


def test_a_menu_costs_no_query_when_cached(
    alice: User,
    tree: dict[str, MenuItem],
    client_of: ClientOf,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = client_of(alice)
    menu(client)
    with django_assert_num_queries(0):
        menu(client)
    tree["tasks"].label = "Jobs"
    tree["tasks"].save()
    assert menu(client) == [("Work", ["Jobs", "Scenes"])]


def test_the_admin_moves_items_and_refuses_a_cycle(
    staff: User, tree: dict[str, MenuItem], client: Client
) -> None:
    staff.is_superuser = True
    staff.save()
    client.force_login(staff)
    prefix = "guardian-groupobjectpermission-content_type-object_pk"
    form = {
        "label": "Work", "translations": "{}", "position": "0", "parent": str(tree["tasks"].pk),
        f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0",
    }  # fmt: skip
    path = f"/admin/accounts/menuitem/{tree['work'].pk}/change/"
    refused = client.post(path, form, follow=True)
    assert "cannot be below itself" in refused.content.decode()
    assert MenuItem.objects.get(pk=tree["work"].pk).parent is None
    client.post(path, {**form, "parent": str(tree["staff"].pk), "position": "0"})
    assert MenuItem.objects.get(pk=tree["work"].pk).parent == tree["staff"]
    assert client.get("/admin/accounts/menuitem/").status_code == 200
