"""The audit log: what staff changes, in the admin and over REST, and nothing secret."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.serializers import serialize
from django.test import Client

from accounts.models import APIKey, Role, User
from chat.models import Scene
from tests.conftest import ClientOf, grant

JSON = "application/json"


def entries(model: str, **wanted: Any) -> list[tuple[str | None, Any]]:
    """Who made which changes, oldest first."""
    found = LogEntry.objects.filter(content_type__model=model, **wanted).order_by("pk")
    return [(entry.actor.username if entry.actor else None, entry.changes) for entry in found]


def test_a_change_over_rest_is_logged_with_who_made_it(
    staff: User, keeper: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    client.post("/api/scenes", {"slug": "ask", "title": "Ask"}, content_type=JSON)
    client.patch("/api/scenes/ask", {"title": "Question"}, content_type=JSON)
    [made, changed] = entries("scene")
    assert made[0] == "staff"
    assert changed == ("staff", {"title": ["Ask", "Question"]})
    client.post("/api/scenes/ask/versions", {"user_template": "x"}, content_type=JSON)
    client.post("/api/scenes/ask/versions/1/publish")
    assert entries("scene")[-1][1].keys() == {"live_version"}
    client.delete("/api/scenes/ask")
    assert LogEntry.objects.filter(action=LogEntry.Action.DELETE, actor=staff).exists()

    body = {
        "name": "tasks", "permissions": ["chat.view_task"], "limits": {"max_tasks_queued": 7}
    }  # fmt: skip
    grant(keeper, Permission.objects.filter(codename="view_task"))
    client_of(keeper).post("/api/roles", body, content_type=JSON)
    assert {who for who, _ in entries("group") + entries("rolelimits")} == {"keeper"}
    assert any("permissions" in changes for _, changes in entries("group"))


def test_a_change_in_the_admin_is_logged_and_shown_there(
    staff: User, alice: User, client: Client
) -> None:
    staff.is_superuser = True
    staff.save()
    client.force_login(staff)
    assert client.post("/admin/accounts/role/add/", {"name": "authors"}).status_code == 302
    assert entries("group") == [("staff", {"id": ["None", ANY], "name": ["None", "authors"]})]
    LogEntry.objects.filter(content_type__model="user").delete()
    form = {
        "username": "alice", "groups": [str(Role.objects.get().pk)], "queue_weight": "2",
        "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00",
    }  # fmt: skip
    assert client.post(f"/admin/accounts/user/{alice.pk}/change/", form).status_code == 302
    (who, changes), (_, links) = entries("user")
    assert (who, changes["queue_weight"]) == ("staff", ["1.0", "2.0"])
    assert links["groups"]["objects"] == ["authors"]
    [entry] = LogEntry.objects.filter(content_type__model="group")
    assert "authors" in client.get("/admin/auditlog/logentry/").content.decode()
    page = client.get(f"/admin/auditlog/logentry/{entry.pk}/change/")
    assert "authors" in page.content.decode()
    assert client.post(f"/admin/auditlog/logentry/{entry.pk}/delete/").status_code == 403


def test_no_secret_gets_into_the_log(
    staff: User, keeper: User, alice: User, client: Client, client_of: ClientOf
) -> None:
    client.force_login(keeper)
    body = {"username": "carol", "password": "very-secret-7"}
    assert client.post("/api/users", body, content_type=JSON).status_code == 201
    alice.set_password("another-secret-8")
    alice.save()
    client.force_login(alice)
    secret = client.post("/api/keys", {"name": "k"}, content_type=JSON).json()["secret"]
    client_of(alice).post("/api/webhooks", {"url": "https://93.184.215.14/hook"}, content_type=JSON)
    log = serialize("json", LogEntry.objects.all())
    assert "carol" in log
    for user in User.objects.all():
        assert user.password not in log
    for key in APIKey.objects.all():
        assert key.digest not in log
    for word in ("very-secret-7", "another-secret-8", secret, "whsec_"):
        assert word not in log


def test_a_revoked_key_is_logged(alice: User, client: Client) -> None:
    client.force_login(alice)
    made = client.post("/api/keys", {"name": "laptop"}, content_type=JSON).json()
    client.delete(f"/api/keys/{made['id']}")
    [*_, (who, changes)] = entries("apikey", object_id=made["id"])
    assert who == "alice"
    assert changes.keys() == {"revoked_at"}


@pytest.mark.parametrize("path", ["", "1/change/"])
def test_the_log_is_for_staff_with_permission(
    staff: User, alice: User, client: Client, path: str
) -> None:
    Scene.objects.create(slug="ask", title="Ask")
    Role.objects.create(name="r")
    assert client.get(f"/admin/auditlog/logentry/{path}").status_code == 302
    for user in (alice, staff):
        client.force_login(user)
        assert client.get(f"/admin/auditlog/logentry/{path}").status_code in {302, 403}
