"""API keys over REST, the command line and the admin."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import authentication
from accounts.models import APIKey, User
from aily.problems import Conflict
from tests.conftest import ClientOf
from tests.locks import wait_for_a_lock

identify_key = async_to_sync(authentication.identify_key)


@pytest.fixture
def session(alice: User) -> Client:
    """Alice, logged in."""
    client = Client()
    client.force_login(alice)
    return client


def test_a_key_shows_its_secret_once(alice: User, session: Client, client_of: ClientOf) -> None:
    client = client_of(alice)
    until = timezone.now() + timedelta(days=30)
    body = {"name": "laptop", "expires_at": until.isoformat()}
    made = session.post("/api/keys", body, content_type="application/json")
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    secret = made.json()["secret"]
    identity = identify_key(secret)
    assert identity is not None
    assert identity.user == alice

    shown = client.get(f"/api/keys/{made.json()['id']}").json()
    assert (shown["name"], shown["prefix"]) == ("laptop", secret[:12])
    listed = client.get("/api/keys")
    assert listed.json()["count"] == 2
    assert secret not in listed.content.decode() + str(shown)
    assert "digest" not in listed.content.decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "owner": 1}, "owner"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "2999-01-01T00:00:00"}, "expires_at"),
    ],
)
def test_a_wrong_field_is_named_and_makes_no_key(
    alice: User, client_of: ClientOf, body: dict[str, object], field: str
) -> None:
    client = client_of(alice)
    refused = client.post("/api/keys", body, content_type="application/json")
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert APIKey.objects.count() == 1


def _lane_of(secret: str) -> str:
    identity = identify_key(secret)
    assert identity is not None
    return identity.lane


def test_the_lane_of_a_key_is_changed_at_once(alice: User, client_of: ClientOf) -> None:
    key, secret = APIKey.create(alice, "nightly")
    client, path = client_of(alice), f"/api/keys/{key.pk}"
    assert _lane_of(secret) == ""
    changed = client.patch(path, {"lane": "batch"}, content_type="application/json")
    assert (changed.status_code, changed.json()["lane"]) == (200, "batch")
    assert changed.json()["name"] == "nightly"
    assert _lane_of(secret) == "batch"


@pytest.mark.parametrize(
    "fields",
    [{"lane": "fast"}, {"lane": None}, {"name": ""}, {"expires_at": "2099-12-31T23:59:59Z"}],
)
def test_a_wrong_change_leaves_a_key_as_it_was(
    alice: User, client_of: ClientOf, fields: dict[str, object]
) -> None:
    key = APIKey.create(alice, "nightly", lane="batch")[0]
    client = client_of(alice)
    refused = client.patch(f"/api/keys/{key.pk}", fields, content_type="application/json")
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [*fields]
    key.refresh_from_db()
    assert (key.name, key.lane) == ("nightly", "batch")


def test_deleting_a_key_revokes_it_and_may_be_repeated(alice: User, client_of: ClientOf) -> None:
    key, secret = APIKey.create(alice, "lost")
    client = client_of(alice)
    assert client.delete(f"/api/keys/{key.pk}").status_code == 204
    revoked_at = APIKey.objects.get(pk=key.pk).revoked_at
    assert revoked_at is not None
    assert identify_key(secret) is None
    assert client.delete(f"/api/keys/{key.pk}").status_code == 204
    assert APIKey.objects.get(pk=key.pk).revoked_at == revoked_at
    usable = client.get("/api/keys?usable=true").json()["items"]
    assert [item["name"] for item in usable] == ["test"]


def test_a_key_is_renamed_and_goes_on_and_nothing_else_of_it_changes(
    alice: User, client_of: ClientOf
) -> None:
    key, secret = APIKey.create(alice, "lap")
    path, client = f"/api/keys/{key.pk}", client_of(alice)
    unseen = {"If-Match": '"another"'}
    refused = client.patch(path, {"name": "x"}, content_type="application/json", headers=unseen)
    assert refused.status_code == 412
    renamed = client.patch(path, {"name": "laptop"}, content_type="application/json")
    assert (renamed.status_code, renamed.json()) == (200, client.get(path).json())
    assert renamed.json()["name"] == "laptop"
    assert identify_key(secret) is not None
    for body, field in (
        ({"name": "x", "expires_at": "2999-01-01T00:00:00Z"}, "expires_at"),
        ({"name": ""}, "name"),
        ({}, "name"),
    ):
        refused = client.patch(path, body, content_type="application/json")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    found = client.get("/api/keys?search=LAP").json()["items"]
    assert [item["name"] for item in found] == ["laptop"]


def test_keys_of_others_are_not_there(alice: User, bob: User, client_of: ClientOf) -> None:
    key, secret = APIKey.create(alice, "hers")
    client = client_of(bob)
    assert client.get(f"/api/keys/{key.pk}").status_code == 404
    renamed = client.patch(f"/api/keys/{key.pk}", {"name": "x"}, content_type="application/json")
    assert renamed.status_code == 404
    assert client.delete(f"/api/keys/{key.pk}").status_code == 404
    assert [item["name"] for item in client.get("/api/keys").json()["items"]] == ["test"]
    assert identify_key(secret) is not None


@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_without_credentials_there_are_no_keys(alice: User, method: str) -> None:
    key, _ = APIKey.create(alice, "hers")
    path = "/api/keys" if method == "post" else f"/api/keys/{key.pk}"
    assert getattr(Client(), method)(path).status_code == 401
    assert APIKey.objects.filter(revoked_at=None).count() == 1


def test_a_page_of_keys_costs_two_queries(
    alice: User, client_of: ClientOf, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_of(alice)
    for number in range(30):
        APIKey.create(alice, f"key {number}")
    with django_assert_num_queries(2):
        page = client.get("/api/keys?limit=10&offset=5").json()
    assert (page["count"], len(page["items"])) == (31, 10)
    assert page["items"][0]["name"] == "key 24"


def test_the_command_prints_the_key_alone(alice: User) -> None:
    output = StringIO()
    call_command("create_api_key", "alice", "--name", "cron", stdout=output)
    identity = identify_key(output.getvalue().removesuffix("\n"))
    assert identity is not None
    assert identity.user == alice
    assert APIKey.objects.get().name == "cron"


def test_the_command_refuses_an_unknown_user(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="nobody"):
        call_command("create_api_key", "nobody")


@pytest.fixture
def admin_client(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
    return client


def test_the_admin_shows_a_new_key_once_and_never_its_digest(
    alice: User, admin_client: Client
) -> None:
    form = {"owner": alice.pk, "name": "from admin", "expires_at_0": "", "expires_at_1": ""}
    page = admin_client.post("/admin/accounts/apikey/add/", form, follow=True)
    assert "no-store" in page["Cache-Control"]
    key = APIKey.objects.get(name="from admin")
    [message] = [m.message for m in page.context["messages"] if "Copy this key" in m.message]
    identity = identify_key(message.rsplit(" ", 1)[1])
    assert identity is not None
    assert identity.user == alice
    again = admin_client.get(f"/admin/accounts/apikey/{key.pk}/change/").content.decode()
    assert key.prefix in again
    assert key.digest not in again
    assert message not in again


def test_the_admin_edits_a_key_without_making_a_new_secret(
    alice: User, admin_client: Client
) -> None:
    key, secret = APIKey.create(alice, "old")
    form = {"name": "new", "expires_at_0": "", "expires_at_1": ""}
    admin_client.post(f"/admin/accounts/apikey/{key.pk}/change/", form)
    assert APIKey.objects.get(pk=key.pk).name == "new"
    assert identify_key(secret) is not None


def test_the_admin_revokes_keys(alice: User, admin_client: Client) -> None:
    key, secret = APIKey.create(alice, "lost")
    form = {"action": "revoke", "_selected_action": [key.pk]}
    admin_client.post("/admin/accounts/apikey/", form)
    assert identify_key(secret) is None


def test_the_admin_lists_keys_and_users_with_a_constant_number_of_queries(
    alice: User,
    bob: User,
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        APIKey.create([alice, bob][number % 2], f"key {number}")
    with django_assert_max_num_queries(7):
        assert admin_client.get("/admin/accounts/apikey/").status_code == 200
    assert admin_client.get("/admin/accounts/user/").status_code == 200
    assert admin_client.get(f"/admin/accounts/user/{alice.pk}/change/").status_code == 200


# --- How many -----------------------------------------------------------------------------------
def test_there_are_so_many_keys_a_user_and_no_more(
    alice: User, bob: User, session: Client, admin_client: Client, settings: Settings
) -> None:
    settings.API_KEYS_MAX_PER_USER = 2
    expired = timezone.now() - timedelta(seconds=1)
    keys = [APIKey.create(alice, "old", expired)[0], *(APIKey.create(alice, "n")[0] for _ in "ab")]
    refused = session.post("/api/keys", {"name": "more"}, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "revoke" in refused.json()["detail"]
    form = {"owner": alice.pk, "name": "more"}
    page = admin_client.post("/admin/accounts/apikey/add/", form, follow=True)
    assert "revoke" in " ".join(str(message) for message in page.context["messages"])
    with pytest.raises(CommandError, match="revoke"):
        call_command("create_api_key", "alice")
    assert APIKey.objects.filter(owner=alice).count() == 3
    APIKey.create(bob, "his")
    APIKey.objects.filter(pk=keys[1].pk).revoke()
    made = session.post("/api/keys", {"name": "more"}, content_type="application/json")
    assert made.status_code == 201


def test_of_two_keys_at_once_only_one_gets_the_last_room(alice: User, settings: Settings) -> None:
    settings.API_KEYS_MAX_PER_USER = 1

    def make_second() -> APIKey:
        try:
            return APIKey.create(alice, "second")[0]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            APIKey.create(alice, "first")
            second = threads.submit(make_second)
            wait_for_a_lock(or_until=second.done)
        with pytest.raises(Conflict):
            second.result()
    assert [key.name for key in APIKey.objects.all()] == ["first"]
