"""Nobody gives what they do not have: staff with one permission, and with nearly all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db.models import Q
from django.test import Client
from guardian.models import GroupObjectPermission

from accounts.access.grants import USERS
from accounts.models import APIKey, MenuItem, Role, RoleLimits, User
from chat.models import LLMModel, Provider, Scene
from chat.services.scenes import create_version, publish
from tests.accounts.attacks import ATTACKS, JSON, Attack, Cast, change, permission, power
from tests.conftest import ClientOf, grant

#: What the mighty role allows, and Mallory never has.
_BEYOND = ("chat.change_task", "chat.use_scene", "chat.use_llmmodel", "accounts.use_menuitem")


def grant_on(role: Role, name: str, row: Any) -> None:
    granted = permission(name)
    GroupObjectPermission.objects.create(
        group=role, permission=granted, content_type=granted.content_type, object_pk=row.pk
    )


@pytest.fixture
def cast(alice: User) -> Cast:
    users = {
        name: User.objects.create_user(name, password="as-it-was-3", is_staff=True)
        for name in ("mallory", "root", "boss")
    }
    User.objects.filter(username="root").update(is_superuser=True, has_totp=True)
    User.objects.filter(username="boss").update(has_totp=True)
    roles: dict[str, Any] = {name: Role.objects.create(name=name) for name in ("mighty", "plain")}
    provider = Provider.objects.create(name="acme", base_url="http://127.0.0.1:9")
    model = LLMModel.objects.create(provider=provider, name="dear", is_restricted=True)
    LLMModel.objects.create(provider=provider, name="plain")
    scene = Scene.objects.create(slug="shut", title="T", is_restricted=True)
    cast = Cast(
        mallory=users["mallory"],
        root=User.objects.get(username="root"),
        boss=User.objects.get(username="boss"),
        alice=alice,
        mighty=roles["mighty"],
        plain=roles["plain"],
        scene=scene,
        model=model,
        item=MenuItem.objects.create(label="Secret", is_restricted=True),
    )
    cast.mighty.permissions.add(permission("chat.change_task"))
    grant_on(cast.mighty, "chat.use_scene", scene)
    cast.boss.groups.add(cast.mighty)
    RoleLimits.objects.create(role=cast.plain, max_tasks_queued=5)
    cast.mallory.groups.add(cast.plain)
    # The scene "open" has a draft without a model; one that names the restricted model; and, made
    # live once by somebody who might, a published one that does.
    open_scene = Scene.objects.create(slug="open", title="Open")
    create_version(open_scene, None, {"user_template": "{{ x }}"})
    create_version(open_scene, None, {"user_template": "{{ x }}", "model": model})
    publish(create_version(open_scene, None, {"user_template": "{{ x }}", "model": model}))
    publish(create_version(open_scene, None, {"user_template": "{{ x }}"}))
    for owner in (cast.root, cast.boss, alice):
        APIKey.create(owner, "old")
    return cast


def client_with(cast: Cast, *names: str) -> Client:
    """Mallory, logged in, with these permissions."""
    # Past the audit log, which reads each permission's app by a query of its own.
    User.user_permissions.through.objects.filter(user=cast.mallory).delete()
    wanted = Q()
    for name in names:
        app, _, codename = name.partition(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    grant(cast.mallory, Permission.objects.filter(wanted))
    USERS.invalidate([cast.mallory.pk])
    client = Client()
    client.force_login(cast.mallory)
    return client


def all_but_beyond() -> list[str]:
    every = Permission.objects.values_list("content_type__app_label", "codename")
    names = [f"{app}.{codename}" for app, codename in every]
    return [name for name in names if name not in _BEYOND]


def gained(cast: Cast, attack: Attack, permissions: Sequence[str]) -> set[str]:
    """In what respects more, or other, people may do more after the attack than before."""
    client = client_with(cast, *permissions)
    before = power()
    answer = attack.attempt(client, cast)
    assert answer is None or answer.status_code < 500
    after = power()
    # What Mallory makes for himself is his to make, and so is a user who may do nothing.
    new = {pk for pk, *_ in after["users"]} - {pk for pk, *_ in before["users"]}
    for user in User.objects.filter(pk__in=new):
        assert [user.is_staff, user.is_superuser, user.groups.exists()] == [False] * 3
        user.delete()
    APIKey.objects.filter(owner=cast.mallory).delete()
    after = power()
    return {name for name in before if after[name] != before[name]}


def test_what_it_takes_to_try_is_not_enough(cast: Cast) -> None:
    """Every attack, by somebody who has no permissions but those to get as far as to the rules."""
    found = {name: gained(cast, attack, attack.permissions) for name, attack in ATTACKS.items()}
    assert found == {name: set() for name in ATTACKS}


@pytest.mark.slow
def test_nor_are_all_permissions_but_the_ones_wanted(cast: Cast) -> None:
    names = all_but_beyond()
    found = {name: gained(cast, attack, names) for name, attack in ATTACKS.items()}
    assert found == {name: set() for name in ATTACKS}


# --- What is allowed all the same -----------------------------------------------------------------
def test_what_one_has_one_gives_in_the_admin_and_over_rest(cast: Cast) -> None:
    names = ["accounts.change_user", "accounts.change_role", "accounts.add_role", "chat.view_task"]
    client = client_with(cast, *names)
    body = {"name": "viewers", "permissions": ["chat.view_task"]}
    role = client.post("/api/roles", body, content_type=JSON).json()
    given = client.patch(f"/api/users/{cast.alice.pk}", {"roles": [role["id"]]}, content_type=JSON)
    assert [role["name"] for role in given.json()["roles"]] == ["viewers"]
    assert change(client, cast.alice, groups=[cast.plain.pk]).status_code == 302
    assert [role.name for role in cast.alice.groups.all()] == ["plain"]
    assert change(client, cast.alice, email="alice@aily.example").status_code == 302
    cast.alice.refresh_from_db()
    assert cast.alice.email == "alice@aily.example"


def test_who_deletes_a_thing_need_not_have_what_was_granted_on_it(cast: Cast) -> None:
    client = client_with(cast, "chat.delete_scene")
    assert client.delete("/api/scenes/shut").status_code == 204
    assert not GroupObjectPermission.objects.exists()


def test_a_refusal_says_why_and_that_it_is_forbidden(cast: Cast) -> None:
    client = client_with(cast, "accounts.change_user")
    refused = client.patch(
        f"/api/users/{cast.alice.pk}", {"roles": [cast.mighty.pk]}, content_type=JSON
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "chat.change_task" in refused.json()["detail"]
    refused = client.patch(f"/api/users/{cast.boss.pk}", {"is_active": False}, content_type=JSON)
    assert "chat.change_task" in refused.json()["detail"]
    refused = client.patch(f"/api/users/{cast.root.pk}", {"is_active": False}, content_type=JSON)
    assert refused.json()["detail"] == "Only a superuser changes a superuser."


def test_a_page_of_the_admin_says_why_not(cast: Cast) -> None:
    client = client_with(cast, "chat.change_scene", "guardian.add_groupobjectpermission")
    refused = ATTACKS["admin_grants_ones_role_the_use_of_a_scene"].attempt(client, cast)
    assert refused is not None
    assert refused.status_code == 403
    assert "You cannot give what you do not have: chat.use_scene." in refused.content.decode()
    client.cookies["django_language"] = "zh-hans"
    refused = ATTACKS["admin_grants_ones_role_the_use_of_a_scene"].attempt(client, cast)
    assert refused is not None
    assert "不能授予您没有的权限：可以使用场景（chat.use_scene）。" in refused.content.decode()


def test_a_superuser_gives_everything_and_changes_everybody(cast: Cast, client: Client) -> None:
    User.objects.filter(pk=cast.root.pk).update(has_totp=False)
    client.force_login(cast.root)
    assert change(client, cast.mallory, is_superuser="on").status_code == 302
    assert change(client, cast.alice, groups=[cast.mighty.pk], is_staff="on").status_code == 302
    cast.mallory.refresh_from_db()
    cast.alice.refresh_from_db()
    assert (cast.mallory.is_superuser, cast.alice.is_staff) == (True, True)
    made = client.post("/admin/accounts/apikey/add/", {"owner": cast.alice.pk, "name": "hers"})
    assert made.status_code == 302
    assert APIKey.objects.get(name="hers").owner == cast.alice


def test_a_key_that_staff_makes_in_the_admin_is_their_own(cast: Cast) -> None:
    client = client_with(cast, "accounts.add_apikey", "accounts.view_apikey")
    form = {"owner": cast.root.pk, "name": "mine"}
    assert client.post("/admin/accounts/apikey/add/", form).status_code == 302
    assert APIKey.objects.get(name="mine").owner == cast.mallory


def test_staff_revokes_the_keys_of_those_who_have_no_more(cast: Cast) -> None:
    client = client_with(cast, "accounts.change_apikey")
    keys = list(APIKey.objects.filter(name="old").values_list("pk", flat=True))
    client.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": keys})
    revoked = APIKey.objects.exclude(revoked_at=None)
    assert [key.owner for key in revoked] == [cast.alice]


def test_an_account_that_is_shut_out_is_as_mighty_as_before(cast: Cast) -> None:
    """Or it would be taken over first, and let in again."""
    User.objects.filter(pk=cast.boss.pk).update(is_active=False)
    client = client_with(cast, "accounts.change_user")
    body = {"is_active": True, "email": "mallory@aily.example"}
    refused = client.patch(f"/api/users/{cast.boss.pk}", body, content_type=JSON)
    assert refused.status_code == 403


# --- Keys -----------------------------------------------------------------------------------------
def test_a_key_makes_no_keys_and_sets_no_passwords(cast: Cast, client_of: ClientOf) -> None:
    User.objects.filter(pk=cast.root.pk).update(has_totp=False)
    for user in (cast.alice, cast.root):
        client = client_of(user)
        refused = client.post("/api/keys", {"name": "child"}, content_type=JSON)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "log in" in refused.json()["detail"]
    body = {"username": "carol", "password": "long-enough-7"}
    refused = client.post("/api/users", body, content_type=JSON)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (403, "password")
    made = client.post("/api/users", {"username": "carol"}, content_type=JSON)
    assert made.status_code == 201
    assert not APIKey.objects.filter(name="child").exists()


def test_where_logins_go_by_address_a_key_changes_none(
    cast: Cast, client_of: ClientOf, settings: Any
) -> None:
    client = client_of(cast.root)
    body = {"email": "mallory@aily.example"}
    assert client.patch(f"/api/users/{cast.alice.pk}", body, content_type=JSON).status_code == 200
    settings.OIDC_LINK_BY_EMAIL = True
    body = {"email": "other@aily.example"}
    assert client.patch(f"/api/users/{cast.alice.pk}", body, content_type=JSON).status_code == 403


def test_commands_and_the_program_have_no_actor(cast: Cast) -> None:
    grant(cast.alice, Permission.objects.all())
    cast.alice.is_superuser = True
    cast.alice.save()
    cast.alice.groups.add(cast.mighty)
    assert User.objects.get(pk=cast.alice.pk).is_superuser
