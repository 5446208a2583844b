"""Roles and users over REST and in the admin: who sets them, and what they are good for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import MenuItem, Role, User
from chat.models import Scene
from tests.conftest import ClientOf, grant

JSON = "application/json"


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    return Scene.objects.create(slug="greet", title="Greet")


def snapshot() -> list[Any]:
    tables = (Role.objects, User.objects, MenuItem.objects, User.groups.through.objects)
    return [list(table.order_by("pk").values()) for table in tables]


# --- Roles --------------------------------------------------------------------------------------
def test_a_role_says_what_may_be_done_with_everything_and_with_single_things(
    keeper: User, alice: User, scene: Scene, client_of: ClientOf
) -> None:
    grant(keeper, Permission.objects.filter(codename__in=["view_task", "change_scene"]))
    client = client_of(keeper)
    body = {
        "name": "authors",
        "permissions": ["chat.view_task"],
        "objects": [{"permission": "chat.change_scene", "object": "greet"}],
        "limits": {"max_tasks_queued": 7},
    }
    made = client.post("/api/roles", body, content_type=JSON)
    assert made.status_code == 201, made.content
    role = made.json()
    assert role["limits"]["max_tasks_queued"] == 7
    assert {name: role[name] for name in ("name", "permissions", "objects")} == {
        name: body[name] for name in ("name", "permissions", "objects")
    }
    given = client.patch(f"/api/users/{alice.pk}", {"roles": [role["id"]]}, content_type=JSON)
    assert [role["name"] for role in given.json()["roles"]] == ["authors"]
    me = client_of(alice).get("/api/me").json()
    assert me["roles"] == [{"id": role["id"], "name": "authors"}]
    assert me["objects"] == body["objects"]
    assert me["permissions"] == []  # on everything it is for staff
    assert me["limits"]["max_tasks_queued"] == 7
    assert client.get("/api/roles").json()["items"][0]["member_count"] == 1


def test_a_role_is_changed_as_a_whole_and_deleted(
    keeper: User, alice: User, scene: Scene, client_of: ClientOf
) -> None:
    wanted = ["view_task", "use_scene", "change_scene"]
    grant(keeper, Permission.objects.filter(codename__in=wanted))
    client = client_of(keeper)
    objects = [
        {"permission": f"chat.{name}_scene", "object": "greet"} for name in ("use", "change")
    ]
    made = client.post("/api/roles", {"name": "some", "objects": objects}, content_type=JSON)
    path = f"/api/roles/{made.json()['id']}"
    changed = client.patch(path, {"objects": objects[:1]}, content_type=JSON).json()
    assert changed["objects"] == objects[:1]
    changed = client.patch(path, {"permissions": ["chat.view_task"]}, content_type=JSON).json()
    assert (changed["objects"], changed["permissions"]) == (objects[:1], ["chat.view_task"])
    scene.delete()
    assert client.get(path).json()["objects"] == []
    alice.groups.set(Role.objects.all())
    assert client.delete(path).status_code == 204
    assert client_of(alice).get("/api/me").json()["roles"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "n", "colour": 1}, "colour"),
        ({"name": "taken"}, "name"),
        ({"name": "n", "permissions": ["chat.view_task", "chat.fly"]}, "permissions.1"),
        (
            {"name": "n", "objects": [{"permission": "chat.view_task", "object": "greet"}]},
            "objects.0.permission",
        ),
        (
            {"name": "n", "objects": [{"permission": "chat.use_scene", "object": "none"}]},
            "objects.0.object",
        ),
        (
            {"name": "n", "objects": [{"permission": "accounts.use_menuitem", "object": "x"}]},
            "objects.0.object",
        ),
        ({"name": "n", "limits": {"max_tasks_queued": 0}}, "limits.max_tasks_queued"),
    ],
)
def test_a_wrong_field_of_a_role_is_named_and_nothing_is_made(
    keeper: User, scene: Scene, client_of: ClientOf, body: dict[str, Any], field: str
) -> None:
    Role.objects.create(name="taken")
    before = snapshot()
    refused = client_of(keeper).post("/api/roles", body, content_type=JSON)
    assert refused.status_code in {400, 409, 422}
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert snapshot() == before


# --- Users --------------------------------------------------------------------------------------
def test_users_are_made_found_and_shut_out(
    keeper: User, alice: User, client: Client, client_of: ClientOf
) -> None:
    client.force_login(keeper)
    body = {"username": "carol", "email": "carol@aily.example", "password": "long-enough-7"}
    made = client.post("/api/users", body, content_type=JSON)
    assert made.status_code == 201
    assert "long-enough-7" not in made.content.decode()
    assert Client().login(username="carol", password="long-enough-7")
    found = client.get("/api/users?search=CAROL").json()["items"]
    assert [user["username"] for user in found] == ["carol"]
    theirs = client_of(alice)
    assert theirs.get("/api/me").status_code == 200
    client.patch(f"/api/users/{alice.pk}", {"is_active": False}, content_type=JSON)
    assert theirs.get("/api/me").status_code == 401
    shut_out = client.get("/api/users?is_active=false").json()["items"]
    assert [user["username"] for user in shut_out] == ["alice"]


def test_whoever_does_not_look_after_users_sees_themselves(
    alice: User, bob: User, client_of: ClientOf
) -> None:
    client = client_of(alice)
    assert [user["username"] for user in client.get("/api/users").json()["items"]] == ["alice"]
    assert client.get(f"/api/users/{alice.pk}").status_code == 200
    assert client.get(f"/api/users/{bob.pk}").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "alice"}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "carol", "email": "nobody"}, "email"),
        ({"username": "carol", "password": "123"}, "password"),
        ({"username": "carol", "roles": [999]}, "roles"),
        ({"username": "carol", "is_superuser": True}, "is_superuser"),
    ],
)
def test_a_wrong_field_of_a_user_is_named_and_nobody_is_made(
    keeper: User, alice: User, client_of: ClientOf, body: dict[str, Any], field: str
) -> None:
    before = snapshot()
    refused = client_of(keeper).post("/api/users", body, content_type=JSON)
    assert {error["field"] for error in refused.json()["errors"]} == {field}
    assert snapshot() == before


def test_only_a_superuser_makes_staff_and_changes_superusers(
    keeper: User, alice: User, bob: User, client_of: ClientOf
) -> None:
    User.objects.filter(pk=bob.pk).update(is_superuser=True)
    client = client_of(keeper)
    for user, body in ((alice, {"is_staff": True}), (bob, {"is_active": False})):
        refused = client.patch(f"/api/users/{user.pk}", body, content_type=JSON)
        assert refused.json()["code"] == "forbidden"
    assert User.objects.filter(pk__in=[alice.pk, bob.pk], is_staff=False, is_active=True).count()
    made = client_of(bob).patch(f"/api/users/{alice.pk}", {"is_staff": True}, content_type=JSON)
    assert made.json()["is_staff"] is True


# --- Who may ------------------------------------------------------------------------------------
STAFF_ONLY = [
    ("get", "/api/roles", None, "view_role"),
    ("post", "/api/roles", {"name": "new"}, "add_role"),
    ("get", "/api/roles/{role}", None, "view_role"),
    ("patch", "/api/roles/{role}", {"name": "other"}, "change_role"),
    ("delete", "/api/roles/{role}", None, "delete_role"),
    ("post", "/api/users", {"username": "carol"}, "add_user"),
    ("patch", "/api/users/{user}", {"email": "x@y.example"}, "change_user"),
    ("get", "/api/menus/items", None, "view_menuitem"),
    ("post", "/api/menus/items", {"label": "New"}, "add_menuitem"),
    ("get", "/api/menus/items/{item}", None, "view_menuitem"),
    ("patch", "/api/menus/items/{item}", {"label": "Other"}, "change_menuitem"),
    ("delete", "/api/menus/items/{item}", None, "delete_menuitem"),
]


@pytest.mark.parametrize(("method", "path", "body", "permission"), STAFF_ONLY)
def test_each_permission_is_needed_and_is_for_staff(
    alice: User,
    keeper: User,
    client_of: ClientOf,
    method: str,
    path: str,
    body: Any,
    permission: str,
) -> None:
    role, item = Role.objects.create(name="trial"), MenuItem.objects.create(label="Tasks")
    path = path.format(role=role.pk, item=item.pk, user=alice.pk)

    def attempt(client: Client) -> int:
        return int(getattr(client, method)(path, body, content_type=JSON).status_code)

    needed = Permission.objects.get(codename=permission, content_type__app_label="accounts")
    before = snapshot()
    assert attempt(Client()) == 401
    assert attempt(client_of(alice)) == 403
    alice.user_permissions.add(needed)
    assert attempt(client_of(alice)) == 403  # no staff
    keeper.user_permissions.remove(needed)
    assert attempt(client_of(keeper)) == 403
    assert snapshot() == before
    keeper.user_permissions.add(needed)
    assert attempt(client_of(keeper)) in {200, 201, 204}


# --- Admin --------------------------------------------------------------------------------------
def test_the_admin_has_roles_with_members_and_says_on_an_object_who_may_use_it(
    staff: User, alice: User, scene: Scene, client: Client
) -> None:
    staff.is_superuser = True
    staff.save()
    client.force_login(staff)
    made = client.post("/admin/accounts/role/add/", {"name": "authors"})
    assert made.status_code == 302, made.content
    role = Role.objects.get()
    alice.groups.add(role)
    listed = client.get(f"/admin/accounts/user/?groups__id__exact={role.pk}").content.decode()
    assert "alice" in listed
    assert "staff@" not in listed
    prefix = "guardian-groupobjectpermission-content_type-object_pk"
    use = Permission.objects.get(codename="use_scene")
    form = {
        "slug": "greet",
        "title": "Greet",
        "is_enabled": "on",
        "is_restricted": "on",
        "versions-TOTAL_FORMS": "0",
        "versions-INITIAL_FORMS": "0",
        f"{prefix}-TOTAL_FORMS": "1",
        f"{prefix}-INITIAL_FORMS": "0",
        f"{prefix}-0-group": str(role.pk),
        f"{prefix}-0-permission": str(use.pk),
    }
    assert client.post(f"/admin/chat/scene/{scene.pk}/change/", form).status_code == 302
    page = client.get(f"/admin/accounts/role/{role.pk}/change/").content.decode()
    assert "Can use scene: greet" in page
    scene_page = client.get(f"/admin/chat/scene/{scene.pk}/change/").content.decode()
    assert "Can publish scene" in scene_page
    assert "Can add scene" not in scene_page


def test_an_unknown_permission_on_an_object_is_refused(keeper: User, client_of: ClientOf) -> None:
    body = {"name": "odd", "objects": [{"permission": "no.such", "object": "x"}]}
    answer = client_of(keeper).post("/api/roles", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "objects.0.permission"
    assert not Role.objects.filter(name="odd").exists()


def test_the_role_form_groups_permissions_by_model_with_readable_names(
    transactional_db: None,
) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    role = Role.objects.create(name="editors")
    role.permissions.add(Permission.objects.get(codename="publish_scene"))
    path = f"/admin/accounts/role/{role.pk}/change/"
    for language, model, name in (
        ("en", "Scene version", "Can change scene version"),
        ("zh-hans", "场景版本", "可以修改场景版本"),
    ):
        text = client.get(path, headers={"Accept-Language": language}).content.decode()
        groups = re.findall(r"<legend>(.*?)</legend>(.*?)</fieldset>", text, re.DOTALL)
        assert [group for group, boxes in groups if group == model and name in boxes], groups
        assert "chat | " not in text
    page: Any = client.get(path)
    chosen = page.context["adminform"].form["permissions"].value()
    kept = {"name": "editors", "permissions": chosen}
    assert client.post(path, kept).status_code == 302
    assert [permission.codename for permission in role.permissions.all()] == ["publish_scene"]
