"""Keys and sessions: who is let in, and who is not."""

from __future__ import annotations

import secrets
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.authentication import identify_key, identify_session
from accounts.bearer import counted_name
from accounts.models import KEY_MARK, APIKey, User


def me(secret: str) -> Any:
    return Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/me")


def test_a_key_identifies_its_owner(alice: User) -> None:
    key, secret = APIKey.create(alice, "laptop")
    response = me(secret)
    assert response.status_code == 200
    told = response.json()
    assert (told["id"], told["username"], told["is_staff"]) == (alice.pk, "alice", False)
    identity = async_to_sync(identify_key)(secret)
    assert identity is not None
    assert (identity.user, identity.api_key) == (alice, key)


def test_only_the_digest_of_a_key_is_stored(alice: User) -> None:
    key, secret = APIKey.create(alice, "laptop")
    stored = APIKey.objects.filter(pk=key.pk).values().get()
    assert secret not in map(str, stored.values())
    assert len(secret) > 40
    assert stored["prefix"] == secret[:12]


def test_a_revoked_key_is_refused(alice: User) -> None:
    _, secret = APIKey.create(alice, "laptop")
    assert me(secret).status_code == 200
    APIKey.objects.all().revoke()
    assert me(secret).status_code == 401


def test_a_key_is_refused_once_it_expires_though_it_is_cached(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = timezone.now() + timedelta(hours=1)
    _, secret = APIKey.create(alice, "laptop", moment)
    assert me(secret).status_code == 200
    monkeypatch.setattr("accounts.access.keys.timezone", SimpleNamespace(now=lambda: moment))
    assert me(secret).status_code == 401


def test_a_key_that_expires_later_still_works(alice: User) -> None:
    _, secret = APIKey.create(alice, "laptop", timezone.now() + timedelta(hours=1))
    assert me(secret).status_code == 200


def test_the_key_of_a_deactivated_user_is_refused(alice: User) -> None:
    _, secret = APIKey.create(alice, "laptop")
    assert me(secret).status_code == 200
    alice.is_active = False
    alice.save()
    assert me(secret).status_code == 401


@pytest.mark.parametrize("secret", ["", "aily_", "aily_" + "x" * 43, "x", "é", "a" * 5000])
def test_an_unknown_key_is_refused_and_told_how_to_authenticate(alice: User, secret: str) -> None:
    response = me(secret)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "unauthenticated"


def test_nobody_is_refused(transactional_db: None) -> None:
    assert Client().get("/api/me").status_code == 401


def test_a_wrong_key_is_not_made_good_by_a_session(alice: User) -> None:
    client = Client(headers={"Authorization": "Bearer aily_wrong"})
    client.force_login(alice)
    assert client.get("/api/me").status_code == 401


def test_a_cached_key_costs_no_query_and_its_use_is_noted(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key, secret = APIKey.create(alice, "laptop")
    before = timezone.now()
    assert me(secret).status_code == 200
    with django_assert_num_queries(0):
        assert me(secret).status_code == 200
    noted = APIKey.objects.get(pk=key.pk).last_used_at
    assert noted is not None
    assert before < noted


def test_what_cannot_be_a_key_costs_no_query(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert async_to_sync(identify_key)("sk-something-else") is None


def test_made_up_keys_cost_hardly_any_query(
    alice: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    APIKey.create(alice, "laptop")
    # The keys there are, once; and for one made-up key in a hundred, whether it is there.
    with django_assert_max_num_queries(12):
        for _ in range(200):
            assert me(KEY_MARK + secrets.token_urlsafe(32)).status_code == 401


def test_a_session_identifies_its_user(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert client.get("/api/me").json()["username"] == "alice"


def test_an_unsafe_method_with_a_session_needs_the_csrf_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    body = {"name": "browser"}
    refused = client.post("/api/keys", body, content_type="application/json")
    assert refused.status_code == 403
    assert refused.json()["code"] == "forbidden"
    assert not APIKey.objects.exists()

    client.get("/")
    token = client.cookies["csrftoken"].value
    accepted = client.post(
        "/api/keys", body, content_type="application/json", headers={"X-CSRFToken": token}
    )
    assert accepted.status_code == 201


def test_a_key_needs_no_csrf_token(alice: User) -> None:
    _, secret = APIKey.create(alice, "laptop")
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {secret}"})
    made = client.post("/api/conversations", {"title": "Mine"}, content_type="application/json")
    assert made.status_code == 201


@pytest.fixture
def alice_secret(alice: User) -> str:
    return APIKey.create(alice, "laptop")[1]


async def test_a_key_and_a_session_work_on_asgi(
    alice: User, alice_secret: str, async_client: AsyncClient
) -> None:
    assert (await async_client.get("/api/me")).status_code == 401
    bearer = {"Authorization": f"Bearer {alice_secret}"}
    assert (await async_client.get("/api/me", headers=bearer)).json()["username"] == "alice"
    await async_client.aforce_login(alice)
    assert (await async_client.get("/api/me")).json()["username"] == "alice"


def test_a_session_key_identifies_its_user_without_a_request(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    session_key = client.session.session_key
    assert session_key is not None
    identity = identify_session(session_key)
    assert identity is not None
    assert identity.user == alice


def test_a_session_ends_with_the_password_but_is_left_for_the_browser_to_find_out(
    alice: User,
) -> None:
    client = Client()
    client.force_login(alice)
    session_key = client.session.session_key
    assert session_key is not None
    alice.set_password("another-one-8")
    alice.save()
    assert identify_session(session_key) is None
    assert client.session.session_key == session_key


@pytest.mark.parametrize("session_key", ["", "short", "x" * 32, "x" * 5000])
def test_an_unknown_session_identifies_nobody(transactional_db: None, session_key: str) -> None:
    assert identify_session(session_key) is None


def test_the_session_of_a_deactivated_user_identifies_nobody(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert identify_session(str(client.session.session_key)) is None
    assert client.get("/api/me").status_code == 401


def test_requests_are_counted_by_user_or_session(alice: User) -> None:
    (first, one), (_, other) = (APIKey.create(alice, name) for name in ("a", "b"))

    def name_of(*headers: tuple[bytes, bytes]) -> str | None:
        return async_to_sync(counted_name)(headers)

    def by_key(secret: str) -> str | None:
        return name_of((b"cookie", b"sessionid=x"), (b"authorization", f"Bearer {secret}".encode()))

    assert by_key(one) == by_key(other) == f"user:{alice.pk}"
    APIKey.objects.filter(pk=first.pk).revoke()
    assert by_key(one) == by_key("no key") == "unknown"
    assert name_of((b"cookie", b"a=b; sessionid=x")) == "session:x"
    assert name_of() is None
    assert name_of((b"cookie", b"\xff=;;")) is None
